// Subscribes to a bucket and answers each webhook, as the libraries of the field
// do it: a PUT with the delivery's id, HTTP Basic and no Content-Type.
//
// RELAY_URL is where the relay is, such as http://127.0.0.1:8080. RELAY_DEFLATE
// is "on" or "off".
'use strict';
const http = require('http');
const WebSocket = require('ws');

const { RELAY_URL, RELAY_KEY, RELAY_SECRET, RELAY_BUCKET, RELAY_DEFLATE } = process.env;
const ws = new WebSocket(RELAY_URL.replace('http', 'ws') + '/v1/socket', {
  perMessageDeflate: RELAY_DEFLATE === 'on',
});

function say(request) {
  ws.send(JSON.stringify(request));
}

function answer(webhook) {
  const id = webhook.meta.id;
  const request = http.request(RELAY_URL + '/v1/logs/' + id, {
    method: 'PUT',
    auth: RELAY_KEY + ':' + RELAY_SECRET,
  }, (response) => {
    console.log('answered', response.statusCode);
    response.resume();
  });
  request.end(JSON.stringify({
    id,
    response_body: Buffer.from('banana').toString('base64'),
    status_code: 201,
    response_headers: { xkey: ['xvalue'] },
  }));
}

ws.on('open', () => {
  console.log('extensions', ws.extensions || 'none');
  say({ action: 'auth', key: RELAY_KEY, secret: RELAY_SECRET });
});
ws.on('message', (data) => {
  const frame = JSON.parse(data.toString());
  switch (frame.type === 'status' ? frame.status : frame.type) {
    case 'authenticated':
      say({ action: 'subscribe', buckets: [RELAY_BUCKET] });
      break;
    case 'subscribed':
      console.log('subscribed');
      break;
    case 'ping':
      say({ action: 'pong' });
      break;
    case 'webhook':
      console.log('webhook', frame.body.length);
      answer(frame);
  }
});
ws.on('close', (code, reason) => {
  console.log('ended', code, reason.toString());
});
