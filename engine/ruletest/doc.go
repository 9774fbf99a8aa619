// Package ruletest runs tests of rules: files that say of an event which rules
// match it and what they would run. It also writes such a test of an event of the
// past.
//
//	x.tests.yaml ─► Read ─► File ─► Check (names that the rules know) ─► Run ─► Report ─► JUnit
//	                                                                      └──► Coverage
//
// A test asks the rules as a hookrun does and runs nothing. Where a step depends on
// what an earlier one came to, the test says it. Senders are not verified, for the
// secrets of a test are none.
package ruletest
