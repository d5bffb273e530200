// Echo server on ws, with its optional addon bufferutil; without compression, or with it for messages of any size.
//
// Usage: node echo.js --port N [--spin] [--deflate]. With --spin an always pending immediate keeps the loop from sleeping.
// The socket is corked at the first answer of a burst and uncorked in the next tick, as Node's documentation
// of `writable.cork()` shows: the answers to one read leave in one write. Compressed ones come later, from a thread of
// zlib, so nothing is corked for them.

import { parseArgs } from 'node:util';
import { WebSocketServer } from 'ws';

const MAX_MESSAGE = 16 * 1024 * 1024;

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    spin: { type: 'boolean', default: false },
    deflate: { type: 'boolean', default: false },
  },
});
if (!values.port) {
  console.error('usage: node echo.js --port N [--spin] [--deflate]');
  process.exit(2);
}

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: Number(values.port),
  perMessageDeflate: values.deflate && { threshold: 0 },
  maxPayload: MAX_MESSAGE,
  clientTracking: false,
});

server.on('connection', (connection, request) => {
  const { socket } = request;
  socket.setNoDelay(true);
  connection.on('error', () => connection.terminate());
  connection.on('message', (data, isBinary) => {
    if (!values.deflate && socket.writableCorked === 0) {
      socket.cork();
      process.nextTick(() => socket.uncork());
    }
    connection.send(data, { binary: isBinary, compress: values.deflate });
  });
});

server.on('listening', () => console.log(`listening on 127.0.0.1:${values.port}`));

function keepAwake() {
  setImmediate(keepAwake);
}
if (values.spin) keepAwake();
