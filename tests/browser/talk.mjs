// Two people in one room, in a real browser: node talk.mjs CHROMIUM URL SCREENSHOT [EXTENSION]
// Prints a line per step; the first that does not happen ends it with status 1.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

const require = createRequire(new URL(".work/", import.meta.url));
const { chromium } = require("playwright-core");

const [executablePath, url, screenshot, extension] = process.argv.slice(2);
const profile = await mkdtemp(path.join(tmpdir(), "chat-page-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath,
  headless: true,
  viewport: { width: 900, height: 560 },
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
browser.setDefaultTimeout(60_000);

const step = name => console.log(`ok ${name}`);
const problems = [];

async function enter(name, room) {
  const page = await browser.newPage();
  page.on("pageerror", error => problems.push(`${name}: ${error}`));
  page.on("console", message => message.type() === "error" && problems.push(`${name}: ${message.text()}`));
  await page.goto(url);
  await page.getByRole("textbox", { name: "Your name" }).fill(name);
  await page.getByRole("textbox", { name: "Room" }).fill(room);
  await page.getByRole("button", { name: "Enter" }).click();
  await sees(page, `You are in, as ${name}.`);
  return page;
}

async function say(page, text) {
  await page.getByRole("textbox", { name: "Your message" }).fill(text);
  await page.keyboard.press("Enter");
}

// Waits for a line of the log.
const sees = (page, text) => page.locator("#log li", { hasText: text }).waitFor();
const lines = page => page.locator("#log li").allInnerTexts();
const members = page => page.locator("#members li").allInnerTexts();

try {
  const ann = await enter("Ann", "tea room");
  const bob = await enter("Bob", "tea room");
  const cid = await enter("Cid", "kitchen");
  await sees(ann, "Bob has come in.");
  assert.deepEqual(await members(ann), ["Ann (you)", "Bob"]);
  assert.deepEqual(await members(bob), ["Ann", "Bob (you)"]);
  step("two come into one room");

  await say(ann, "Is there any tea left?");
  await sees(bob, "Is there any tea left?");
  await say(bob, "Plenty <b>of it</b>, gr\u00FCn");
  for (const page of [ann, bob]) await sees(page, "Plenty <b>of it</b>, gr\u00FCn");
  assert.deepEqual((await lines(bob)).slice(-2), ["AnnIs there any tea left?", "BobPlenty <b>of it</b>, gr\u00FCn"]);
  step("they talk both ways, and text is text");

  await say(cid, "How quiet it is here.");
  await sees(cid, "How quiet it is here.");
  assert.deepEqual(await lines(cid), ["You are in, as Cid.", "CidHow quiet it is here."]);
  step("nothing is heard in another room");

  const status = await ann.locator("#status").innerText();
  assert.match(status, /^connected, extensions: /);
  if (extension) assert.ok(status.includes(extension), status);
  else assert.equal(status, "connected, extensions: none");
  step(`the page says: ${status}`);

  await ann.screenshot({ path: screenshot });
  await bob.getByRole("button", { name: "Leave" }).click();
  await sees(ann, "Bob has left.");
  assert.deepEqual(await members(ann), ["Ann (you)"]);
  await bob.getByRole("button", { name: "Enter" }).waitFor();
  step("one leaves");

  // As a connection that breaks, 3000 is not one that the page has asked to close.
  await cid.evaluate(() => socket.close(3000));
  await cid.locator("#log li", { hasText: "You are in, as Cid." }).nth(1).waitFor();
  step("a lost connection comes back");

  await cid.close();
  const second = await enter("Ann 2", "tea room");
  await second.close();
  await sees(ann, "Ann 2 has left.");
  step("a page that is closed leaves too");

  assert.deepEqual(problems, []);
  step("no page has complained");
} finally {
  await browser.close();
  await rm(profile, { recursive: true, force: true });
}
