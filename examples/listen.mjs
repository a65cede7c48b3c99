// Streams raw audio from standard input, 16-bit mono at 16 kHz, and prints what was said and how:
//   ffmpeg -i call.wav -f s16le -ar 16000 -ac 1 - | node examples/listen.mjs [ws://127.0.0.1:8765] [TOKEN]
// Needs Node 22, or Node 20 with --experimental-websocket. The token needs the scope listen.
const [server = "ws://127.0.0.1:8765", token = ""] = process.argv.slice(2);
const query = new URLSearchParams({ encoding: "pcm_s16le", rate_hz: 16000, ...(token && { token }) });
const socket = new WebSocket(`${server}/v1/listen?${query}`);
socket.onopen = async () => {
  for await (const chunk of process.stdin) socket.send(chunk);
  socket.send('{"type": "close"}');
};
socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === "emotion" && event.final) console.log(event.label, event.confidence, event.text);
};
socket.onclose = ({ code, reason }) => {
  if (code !== 1000) console.error(`closed with ${code}: ${reason}`);
  process.exitCode = code === 1000 ? 0 : 1;
};
