package actions

import (
	"runtime/debug"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownProgram is the program that this process runs, even when another one has
// its name by now.
func ownProgram() (string, error) { return "/proc/self/exe", nil }

// execWithin runs a program in this process's place with a bound on its address
// space. A Go program has more than most bounds from its beginning and can't get
// any more once the bound is set, so that nothing is allocated from there on, and
// an error is told here.
func execWithin(memory uint64, program string, argv, env []string) error {
	path, err := syscall.BytePtrFromString(program)
	if err != nil {
		return err
	}
	args, err := syscall.SlicePtrFromStrings(argv)
	if err != nil {
		return err
	}
	vars, err := syscall.SlicePtrFromStrings(env)
	if err != nil {
		return err
	}
	var bound syscall.Rlimit
	if err := syscall.Getrlimit(unix.RLIMIT_AS, &bound); err != nil {
		return &launchError{"limits.memory", err}
	}
	if syscall.Geteuid() != 0 {
		memory = min(memory, bound.Max)
	}
	bound.Cur, bound.Max = memory, memory
	said := []byte("0000 ")
	syscall.Exec("", nil, nil) // it fails; only that it takes back what Go's runtime does to the limit of open files is wanted
	debug.SetGCPercent(-1)

	_, _, errno := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_AS, uintptr(unsafe.Pointer(&bound)), 0, 0, 0)
	if errno != 0 {
		return &launchError{"limits.memory", errno}
	}
	_, _, errno = syscall.RawSyscall(unix.SYS_EXECVE,
		uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&args[0])), uintptr(unsafe.Pointer(&vars[0])))
	for i, n := 3, int(errno); i >= 0; i, n = i-1, n/10 {
		said[i] = '0' + byte(n%10)
	}
	syscall.RawSyscall(unix.SYS_WRITE, launchReport, uintptr(unsafe.Pointer(&said[0])), uintptr(len(said)))
	syscall.RawSyscall(unix.SYS_EXIT_GROUP, exitNotLaunched, 0, 0)
	return errno // never
}
