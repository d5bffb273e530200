#!/usr/bin/env node
// The peer on the npm package `ws`; README.md has the contract.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { inspect, isDeepStrictEqual } from 'node:util';

const here = new URL('.', import.meta.url);
const { WebSocket, WebSocketServer } = createRequire(new URL('.work/node/package.json', here))('ws');
const matrix = JSON.parse(readFileSync(new URL('matrix.json', here), 'utf8'));

const PING_PAYLOAD = 'interop';
const SUBPROTOCOL = 'chat';

const deflate = process.argv.includes('--deflate-on');
const options = { perMessageDeflate: deflate, maxPayload: matrix.max_message };

// ---------------------------------------------------------------- server
function serve() {
  const { TLS_CERT, TLS_KEY } = process.env;
  const secure = TLS_CERT && createServer({ cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) });
  const server = new WebSocketServer({
    ...options,
    ...(secure ? { server: secure } : { host: '127.0.0.1', port: 0 }),
    handleProtocols: (offered) => (offered.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
  });
  server.on('listening', () => console.log(`port ${server.address().port}`));
  if (secure) secure.listen(0, '127.0.0.1');
  server.on('connection', handle);
  process.on('SIGTERM', () => process.exit(0));
  setTimeout(() => process.exit(0), matrix.server_seconds * 1000);
}

/** One connection of the server. */
function handle(socket, request) {
  const target = new URL(request.url, 'ws://localhost');
  socket.on('error', () => {}); // a faulty client is closed by `ws`; the others go on
  socket.on('message', (data, binary) => {
    if (target.pathname === '/fragments') sendFragments(socket, thirds(data), binary);
    else socket.send(data, { binary });
  });
  if (target.pathname === '/close') {
    socket.close(Number(target.searchParams.get('code')), target.searchParams.get('reason') ?? '');
  }
  if (target.pathname === '/ping') {
    socket.on('pong', (payload) => {
      if (payload.toString() === PING_PAYLOAD) socket.send('pong-ok');
    });
    socket.ping(PING_PAYLOAD);
  }
}

/** `payload` in three pieces, cut without regard to characters. */
function thirds(payload) {
  const cut = Math.floor(payload.length / 3);
  return [payload.subarray(0, cut), payload.subarray(cut, 2 * cut), payload.subarray(2 * cut)];
}

function sendFragments(socket, pieces, binary) {
  pieces.forEach((piece, index) => socket.send(piece, { binary, fin: index === pieces.length - 1 }));
}

// ---------------------------------------------------------------- client
/** A connection whose messages and pongs can be awaited, and which remembers how TCP ended. */
class Client {
  static async open(url) {
    const client = new Client();
    client.socket = new WebSocket(url, options);
    client.messages = new Mailbox();
    client.pongs = new Mailbox();
    client.tcp = { end: false, error: null };
    client.socket.on('upgrade', ({ socket }) => {
      socket.on('end', () => (client.tcp.end = true));
      socket.on('error', (error) => (client.tcp.error = error));
    });
    client.closed = new Promise((resolve) => client.socket.on('close', (code) => resolve(code)));
    client.closed.then((code) => {
      client.messages.fail(new Error(`closed with ${code}`));
      client.pongs.fail(new Error(`closed with ${code}`));
    });
    client.socket.on('message', (data, binary) => client.messages.put({ data, binary }));
    client.socket.on('pong', (data) => client.pongs.put(data));
    await once(client.socket, 'open');
    client.socket.on('error', () => {}); // told by the close that follows
    return client;
  }

  async expectMessage(data, binary) {
    const message = await this.messages.take();
    expect(message.binary, binary, 'message type, binary');
    if (!message.data.equals(data)) {
      throw new Error(`echo: got ${shown(message.data)}, wanted ${shown(data)}`);
    }
  }
}

/** Throws unless `got` equals `wanted`. */
function expect(got, wanted, what) {
  if (!isDeepStrictEqual(got, wanted)) {
    throw new Error(`${what}: got ${inspect(got)}, wanted ${inspect(wanted)}`);
  }
}

/** The beginning of `data` and its length. */
function shown(data) {
  return `${inspect(data.subarray(0, 40).toString())} (${data.length} bytes)`;
}

/** Values in the order in which they came, for one who waits for the next. */
class Mailbox {
  #values = [];
  #waiting = [];
  #error = null;

  put(value) {
    if (this.#waiting.length > 0) this.#waiting.shift().resolve(value);
    else this.#values.push(value);
  }

  fail(error) {
    this.#error = error;
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  async take() {
    if (this.#values.length > 0) return this.#values.shift();
    if (this.#error) throw this.#error;
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }
}

let failed = false;

/** Runs one check with a limit in time and prints its line. */
async function check(name, action) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('no answer in time')), matrix.check_seconds * 1000);
  });
  try {
    await Promise.race([action(), limit]);
    console.log(`ok   ${name}`);
  } catch (error) {
    fail(name, error);
  } finally {
    clearTimeout(timer);
  }
}

function fail(name, error) {
  failed = true;
  console.log(`FAIL ${name}: ${error.message}`);
}

async function drive(url) {
  const client = await Client.open(url);
  await driveMessages(client);
  client.socket.terminate();
  for (const { code, reason } of matrix.closes) {
    await check(`close ${code}`, () => close(url, code, reason));
  }
}

/** Every check that leaves the connection open. */
async function driveMessages(client) {
  for (const size of matrix.sizes) {
    await check(`text ${size}`, () => echo(client, textOf(size), false));
    await check(`binary ${size}`, () => echo(client, binaryOf(size), true));
  }
  await check('text in fragments', () => echoFragments(client, textOf(3000), false));
  await check('binary in fragments', () => echoFragments(client, binaryOf(3000), true));
  await check('ping between fragments', () => echoAroundPing(client));
  for (const payload of [Buffer.from(PING_PAYLOAD), Buffer.alloc(0), binaryOf(125)]) {
    await check(`ping of ${payload.length} bytes`, () => ping(client, payload));
  }
  await check(`${matrix.pipelined} messages pipelined`, () => pipeline(client, matrix.pipelined));
}

/** A text of `size` bytes in UTF-8, with characters of one to four bytes where there is room. */
function textOf(size) {
  const pattern = Buffer.from('aé€😀');
  const whole = Math.floor(size / pattern.length) * pattern.length;
  return Buffer.concat([Buffer.alloc(whole, pattern), Buffer.alloc(size - whole, 'x')]);
}

/** `size` bytes that repeat late, the same in every run. */
function binaryOf(size) {
  const bytes = Buffer.allocUnsafe(size);
  for (let index = 0, state = size; index < size; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

async function echo(client, data, binary) {
  client.socket.send(data, { binary });
  await client.expectMessage(data, binary);
}

async function echoFragments(client, data, binary) {
  sendFragments(client.socket, thirds(data), binary);
  await client.expectMessage(data, binary);
}

/** A control frame may stand between the fragments of a message (RFC 6455 section 5.4). */
async function echoAroundPing(client) {
  const data = binaryOf(3000);
  const [first, second, third] = thirds(data);
  client.socket.send(first, { binary: true, fin: false });
  client.socket.ping('one');
  client.socket.send(second, { fin: false });
  client.socket.ping('two');
  client.socket.send(third, { fin: true });
  await client.expectMessage(data, true);
  expect((await client.pongs.take()).toString(), 'one', 'pong');
  expect((await client.pongs.take()).toString(), 'two', 'pong');
}

async function ping(client, payload) {
  client.socket.ping(payload);
  expect(await client.pongs.take(), payload, 'pong');
}

async function pipeline(client, count) {
  for (let number = 0; number < count; number++) client.socket.send(`message ${number}`);
  for (let number = 0; number < count; number++) {
    await client.expectMessage(Buffer.from(`message ${number}`), false);
  }
}

async function close(url, code, reason) {
  const client = await Client.open(url);
  client.socket.close(code, reason);
  expect(await client.closed, code, 'close code');
  expect(client.tcp.end, true, 'end of TCP from the server');
  expect(client.tcp.error, null, 'TCP error');
}

// ---------------------------------------------------------------- command line
const [mode, url] = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
if (mode === 'server') {
  serve();
} else if (mode === 'client' && url) {
  await drive(url).catch((error) => fail('connection', error));
  process.exit(failed ? 1 : 0);
} else {
  console.error('usage: peer_ws.mjs server|client URL [--deflate-off|--deflate-on]');
  process.exit(2);
}
