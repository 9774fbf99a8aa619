package hub

import "time"

// Bounds of connections.
const (
	readBuffer  = 256
	writeBuffer = 4 << 10

	loginTimeout = 15 * time.Second  // from the upgrade to auth
	idleTimeout  = 100 * time.Second // without a word, not even an answer to a ping
	pingEvery    = 25 * time.Second  // clients take 53 s of silence for a dead connection
	pingShares   = 100

	writeTimeout = 15 * time.Second // for a frame, and
	writeRate    = 32 << 10         // for each so many bytes of it a second more

	goodbyeTime = 2 * time.Second // for a close frame to get there

	// What waits to be written to a plain subscriber. One delivery more is taken
	// where nothing else waits.
	maxQueued      = 4096
	maxQueuedBytes = 64 << 20

	// What is queued for all connections together. Beyond it plain subscribers that
	// have more than fairQueuedBytes queued are cut off.
	maxHeapBytes    = 512 << 20
	fairQueuedBytes = 4 << 20

	// What a consumer's connection may have unacknowledged: it paces the hub.
	windowFrames = 128
	windowBytes  = 8 << 20

	maxPings          = 16  // that a client has not answered
	maxClientName     = 128 // bytes of a client's id, or a group's
	maxConsumers      = 10_000
	maxTokenConsumers = 1000   // of these, of one token
	maxAhead          = 10_000 // deliveries that are acknowledged before an older one is, in a bucket
)

// Bounds of the deliveries that are in memory, so that subscribers which keep up
// need not ask the store.
const (
	maxRecent      = 4096
	maxRecentBytes = 32 << 20

	pageLogs  = 64 // read from the store at once
	pageBytes = 4 << 20
)

// Bounds of intake.
const (
	answerWindow = 10 * time.Second // in which a delivery can be answered
	maxReopened  = 100_000          // deliveries that can be answered although they came long ago
	maxBody      = 3 << 20
	maxLargeBody = 64 << 20

	maxWaiting      = 1024           // webhooks whose senders wait for an output's answer, and
	maxInputWaiting = maxWaiting / 4 // of these, at one input
	maxWaitingBytes = 64 << 20

	maxHasty      = 1024 // webhooks that are stored after their sender was answered, and
	maxHastyBytes = 32 << 20

	maxStrangers   = 5                      // lines in the log about unknown inputs at once; then
	strangersEvery = 10 * time.Second       // one in this time
	maxRefusals    = 20                     // lines in the log about failed logins at once; then one a second
	saveEvery      = 200 * time.Millisecond // positions of consumers
	touchEvery     = time.Hour              // those of all who are connected; and those who are not may be forgotten
	storeTimeout   = 30 * time.Second
)

// Close codes that websocket has no names for here.
const (
	closeLost     = 4002
	closeReplaced = 4003
)

// Reasons with which connections end. None holds "closed".
const (
	reasonRestarting = "restarting"
	reasonRevoked    = "access was revoked"
	reasonSlow       = "reading too slowly"
	reasonReplaced   = "replaced by a newer connection"
	reasonLost       = "webhooks were not acknowledged"
	reasonRequest    = "request not understood"
	reasonLogin      = "unauthorized"
	reasonCrowded    = "too many clients that acknowledge"
	reasonNotStored  = "can't be stored now"
)
