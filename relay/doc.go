// Package relay is the client of a webhook relay: it connects out to the
// relay's WebSocket, so that a machine without a public address gets webhooks,
// and hands each to a function.
//
// The wire, one JSON object per text frame (C client, R relay):
//
//	C  GET /v1/socket, upgraded                     no subprotocol, no compression
//	C  {"action":"auth","key":"K","secret":"S"}     "whr" and "sk-…" for an API key
//	R  {"type":"status","status":"authenticated","message":"…"}
//	                   or "unauthorized", "forbidden": the connection ends
//	C  {"action":"subscribe","buckets":["name-or-id"]}    no buckets: all of them
//	R  {"type":"status","status":"subscribed","message":"…"}
//	R  {"type":"status","status":"ping","message":""}     every minute at most
//	C  {"action":"pong"}
//	R  {"type":"webhook","meta":{"id":"…","bucked_id":"…","bucket_name":"…",
//	    "input_id":"…","input_name":"…","output_name":"…","output_destination":"…"},
//	    "headers":{"Content-Type":["application/json"]},"query":"a=b","body":"…","method":"PUT"}
//
// bucked_id is the relay's own spelling; bucket_id is read too. A relay may add
// body_base64 for bodies that are not UTF-8, meta.path, and fields unknown
// here. By itself the protocol has no acknowledgement: a relay sends a webhook
// once and forgets it.
//
// Hookrun's own relay does better, for clients that ask for it by a ClientID
// (other relays pass over what they do not know, and all stays as above):
//
//	C  {"action":"auth",…,"client":"ID","group":"G","features":["ack","resume"]}
//	R  {"type":"status","status":"authenticated","message":"…","features":["ack","resume"]}
//	R  {"type":"webhook","meta":{…,"received_at":1700000000000,"sum":"e3069283"},…}
//	C  {"action":"ack","ids":["…"]}                 Handle took these
//	R  {"type":"status","status":"ping","message":""}
//	C  {"action":"pong","held":3}                   read before that ping, and not acked yet
//	R  {"type":"status","status":"gap","message":"…","gaps":[…]}    these never come
//
// What is not acked is sent again over the next connection, from the first on.
// So a connection ends as soon as a frame may have been lost: where one can't be
// understood, or is damaged, here; where less is held than was sent, at the
// relay. A message is acked only on the connection that brought it. What waits
// here of an earlier one is dropped when the next one stands, as it comes again;
// what was just being handed over then comes a second time, and so does what was
// handed over after Run's context ended: there is no connection to ack it on.
//
// How a message goes, and who owns what:
//
//	Run ─► connect ─► session.run ─► read    owns reading, decodes ─► queue
//	  │    one session at a time  ├► write   owns writing: auth, subscribe, pong, ack
//	  │                           └► watch   ends a session that only looks alive
//	  └► deliver: queue ─► Options.Handle, one message at a time ─► ledger ─► write
//
// It promises that messages are handed over in the order in which they came,
// that the next one waits until Handle took the last, that messages read
// survive the connection that brought them, that it connects again for as long
// as Run's context lasts, and that what was read by its end is still handed
// over, for 10 s. Reading never waits for Handle until the queue
// is full; then it stops, and the relay feels it through TCP.
//
// Answers is the way back: a webhook's answer, and how its runs ended, go to the
// relay by HTTP, beside the socket:
//
//	PUT /v1/logs/{meta.id}, Authorization: Basic key:secret
//	{"id":"…","status_code":200,"response_body":"base64","response_headers":{"A":["b"]},
//	 "status":"sent" or "failed","retries":0}
//
// Exactly 200 means that it was taken. A relay passes an answer on to the
// webhook's sender within 10 s only.
//
// It decides nothing about a message, stores nothing, and does not look for
// duplicates: a relay that sends one delivery twice is heard twice.
package relay
