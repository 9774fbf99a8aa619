// Package forward sends webhooks to public outputs: the relay itself calls the
// destination, in place of a client that is connected to it.
//
// What is to be sent stands in the store, with the time of its next try, so that
// a restart goes on where the last process stopped:
//
//	hub: Accept (preparing, Next = now) ─► Wake
//	Run: Store.Due ─► try ─► 2xx                       sent
//	                      ─► no answer, 5xx, 408, 425, 429    preparing, Next = later; failed after the last try
//	                      ─► any other answer          failed
//
// It promises that each delivery is tried until one of these is final, that what
// is being sent when Run ends goes on at the next start, and that an output
// whose destination is slow holds up no other. A delivery may arrive twice: where
// an answer got lost, or the process ended before it was noted. The header
// X-Hookrun-Delivery is the same each time. It does not promise an order.
//
// Destinations are chosen by whoever may change outputs, so that they lead to
// the public internet alone, unless the relay's own configuration allows more:
// each address is looked at when the name is resolved and the socket is about to
// connect. No proxy is asked, no redirect followed.
package forward
