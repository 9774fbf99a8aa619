// Package enginetest helps to test what is built on engine: a Store in memory,
// an Action that does as it is told, and the suite that every Store passes.
package enginetest
