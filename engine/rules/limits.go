package rules

import (
	"io/fs"
	"math"
	"regexp"
	"runtime"
	"strconv"
	"time"

	"hookrun/actions"
)

// bounds reads what a command runs with, where that is less than hookrun has.
func (a action) bounds() actions.Bounds {
	return actions.Bounds{RunAs: a.runAs(), Umask: a.umask(), Limits: a.limits()}
}

// onUnix reports whether a key may be there, and notes where it may not.
func (o object) onUnix(key string) bool {
	n := o.keyNode(key)
	if n == nil || runtime.GOOS != "windows" {
		return o.values[key] != nil
	}
	o.d.fail(n, "leave it out", "%s: not on Windows", key)
	return false
}

var octalMask = regexp.MustCompile(`^0?[0-7]{3}$`)

// umask reads what is taken from the modes of the files that a command makes.
func (a action) umask() *fs.FileMode {
	if !a.onUnix("umask") {
		return nil
	}
	n := a.values["umask"]
	if !octalMask.MatchString(n.Value) {
		a.d.fail(n, `write umask: "027"`, "umask must be three octal digits, not %s", show(n))
		return nil
	}
	bits, _ := strconv.ParseUint(n.Value, 8, 32) // octal digits
	mask := fs.FileMode(bits)
	return &mask
}

// Bounds of limits themselves.
const (
	minMemory = 1 << 20 // bytes: with less not even a shell starts
	minFiles  = 16      // with less a shell can't redirect
	maxSize   = 1 << 50
)

// limits reads what a command may use.
func (a action) limits() actions.Limits {
	v, ok := a.part("limits", "{cpu: 30s, memory: 512MiB, files: 256, output: 10MiB}", keys[limitsShape]()...)
	if !ok {
		return actions.Limits{}
	}
	l := actions.Limits{Output: v.size("output", 1)}
	if v.onUnix("cpu") {
		l.CPU = v.cpu()
	}
	if v.onUnix("memory") {
		l.Memory = v.size("memory", minMemory)
	}
	if l.Memory > 0 && runtime.GOOS != "linux" {
		a.d.fail(v.keyNode("memory"), "leave it out", "memory: only Linux keeps to it")
	}
	if v.onUnix("files") {
		l.Files = v.number("files", math.MaxInt32, "")
	}
	if l.Files > 0 && l.Files < minFiles {
		a.d.fail(v.values["files"], "", "files must be %d or more: a shell needs that many", minFiles)
	}
	return l
}

func (o object) cpu() time.Duration {
	cpu := o.duration("cpu", 0)
	if cpu%time.Second != 0 {
		o.d.fail(o.values["cpu"], "the system counts seconds: 1s, 30s or 5m", "cpu must be whole seconds, not %s", show(o.values["cpu"]))
	}
	return cpu
}

var byteSize = regexp.MustCompile(`^([1-9][0-9]{0,6}) ?(KiB|MiB|GiB)$`)

// size returns the value of a key that is a number of bytes, 0 where it is not
// there or is wrong.
func (o object) size(key string, least int64) int64 {
	n := o.values[key]
	if n == nil {
		return 0
	}
	m := byteSize.FindStringSubmatch(n.Value)
	if m == nil || !o.d.scalar(n, key) {
		o.d.fail(n, "write 512KiB, 100MiB or 2GiB", "%s must be a size, not %s", key, show(n))
		return 0
	}
	v, _ := strconv.ParseInt(m[1], 10, 64) // a few digits
	v *= map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
	if v < least || v > maxSize {
		o.d.fail(n, "", "%s: %s is too little or too much", key, n.Value)
		return 0
	}
	return v
}
