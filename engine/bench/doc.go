// Package bench measures what hookrun's relay can carry. It is tests and
// benchmarks only.
//
//	go test ./engine/bench                          a tiny form: is what is measured right?
//	go test ./engine/bench -load -v -timeout 1h     the real one: ten minutes, and a table
//	go test ./engine/bench -load -v -run TestHeld -held 100000
//	go test ./engine/bench -run '^$' -bench Out -cpuprofile cpu.out
//
// The relay runs as users run it: the built binary, in a process of its own, over
// loopback, every webhook on disk before its sender is answered. Senders and
// subscribers are the test process, on the same cores; they are as cheap as can be,
// and the table says how much of the processor the relay itself took.
//
// In both forms each measurement counts: what was answered with 200 is what the
// relay says it received and keeps, and what each subscriber read, each webhook
// once. A figure from a run that lost something is not printed.
//
// The benchmarks have the relay in the test process, for profiles.
package bench
