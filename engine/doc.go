// Package engine turns events into runs of actions.
package engine
