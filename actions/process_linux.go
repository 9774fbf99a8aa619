package actions

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Places among the fields behind a process's name in /proc/<pid>/stat.
const (
	statState  = 0  // field 3 of proc(5)
	statParent = 1  // field 4
	statGroup  = 2  // field 5
	statStart  = 19 // field 22, in clock ticks since the system started
)

// statOf returns the fields behind a process's name, or nil for a process that
// is not there.
func statOf(pid int) []string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	// The name is in parentheses and may itself hold any of them.
	text := string(stat)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) <= statStart {
		return nil
	}
	return fields
}

// processStart returns which start of the system and which tick of it a process
// started at, or "" for a process that is not there.
func processStart(pid int) string {
	stat := statOf(pid)
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if stat == nil || err != nil {
		return ""
	}
	return strings.TrimSpace(string(boot)) + "/" + stat[statStart]
}

// onlyZombies reports whether all members of a group have ended and only wait
// for their parent to ask how.
func onlyZombies(pgid int) bool {
	proc, err := os.Open("/proc")
	if err != nil {
		return false
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return false
	}
	group, members := strconv.Itoa(pgid), 0
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat := statOf(pid)
		if stat == nil || stat[statGroup] != group {
			continue
		}
		if !endedState(stat) {
			return false
		}
		members++
	}
	return members > 0
}

// zombie reports whether a process has ended and only waits for its parent.
func zombie(pid int) bool {
	stat := statOf(pid)
	return stat != nil && endedState(stat)
}

func endedState(stat []string) bool { return stat[statState] == "Z" || stat[statState] == "X" }
