// Package store keeps what a relay has to remember in one SQLite file, relay.db:
// the deliveries of webhooks, how far each consumer is, what retention took from
// whom, and the account.
//
// What Accept has acknowledged survives a crash of the process, a kill and a loss
// of power, as package database promises. It is kept until it is older, or more,
// than Options says; what a consumer still was to get is then noted as a gap. Of
// what is too much, that bucket loses its oldest which has the most: who floods
// one takes nothing from the others, as long as they have less than an equal share.
//
//	Accept ─► deliveries ─► After, Pull, Due, List, Log
//	Update ─► fates        (what became of a delivery; beside it, so that a long body is not written again)
//	SaveConsumers ─► consumers ◄─┐
//	a minute has passed, ─► sweep ┴► gaps
//	or much has come
//
// A delivery has a number, Seq, that is never given twice, not even after a
// deletion. But for public deliveries that still wait to be sent, deletion goes
// in the order of Seq within a bucket: all its deliveries for subscribers behind a
// position that are there at all are there without a hole.
package store
