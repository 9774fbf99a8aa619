package actions

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	"hookrun/engine"
)

const (
	shellProgram = "sh" // as Git for Windows brings it
	defaultPath  = `C:\Windows\System32;C:\Windows`
)

// inherited names the variables that a command gets from hookrun's environment.
// Without those of the system hardly a Windows program starts.
var inherited = []string{
	"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER",
	"SystemRoot", "SystemDrive", "windir", "ComSpec", "PATHEXT", "TEMP", "TMP",
	"USERNAME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "APPDATA", "LOCALAPPDATA",
	"ProgramData", "ProgramFiles", "ProgramFiles(x86)", "CommonProgramFiles",
	"NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE",
}

// group is a job object. While its handle is open the system ends the job's
// processes with hookrun, so that a crash leaves nothing behind.
type group struct {
	pid  int
	job  windows.Handle
	once sync.Once // guards the closing of job
}

func startGroup(cmd *exec.Cmd, b Bounds) (*group, error) {
	if b.launched() {
		return nil, engine.Permanent(errors.New("run_as, umask and limits: not on Windows"))
	}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("make a job object: %w", err)
	}
	g := &group{job: job}
	if err := g.limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); err != nil {
		g.release()
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	if err := cmd.Start(); err != nil {
		g.release()
		return nil, err
	}
	g.pid = cmd.Process.Pid
	if err := g.add(g.pid); err != nil && cmd.Process.Kill() == nil {
		cmd.Process.Wait()
		g.release()
		return nil, fmt.Errorf("put the process into its job: %w", err)
	}
	return g, nil // a process that could not be killed has ended already
}

// add puts a process into the job. A child that it starts before is not in it.
func (g *group) add(pid int) error {
	h, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(pid))
	if err != nil {
		return err
	}
	defer windows.CloseHandle(h)
	return windows.AssignProcessToJobObject(g.job, h)
}

func (g *group) limit(flags uint32) error {
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: flags},
	}
	_, err := windows.SetInformationJobObject(g.job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err != nil {
		return fmt.Errorf("limit a job object: %w", err)
	}
	return nil
}

func leftGroup(p engine.Process) *group { return &group{pid: p.PID} }

func (g *group) process() engine.Process { return engine.Process{PID: g.pid} }

// terminate presses Ctrl-Break, which reaches programs that share our console.
func (g *group) terminate() {
	windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(g.pid))
}

func (g *group) kill() { windows.TerminateJobObject(g.job, 1) }

func (g *group) gone() bool {
	var info struct { // JOBOBJECT_BASIC_ACCOUNTING_INFORMATION
		TotalUserTime, TotalKernelTime, PeriodUserTime, PeriodKernelTime int64
		PageFaults, TotalProcesses, ActiveProcesses, TerminatedForLimits uint32
	}
	err := windows.QueryInformationJobObject(g.job, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)), nil)
	return err == nil && info.ActiveProcesses == 0
}

// release lets live what is left in the job.
func (g *group) release() {
	g.once.Do(func() {
		g.limit(0)
		windows.CloseHandle(g.job)
	})
}

// processStart returns "": nothing outlives a crash of hookrun.
func processStart(int) string { return "" }

func signalName(*os.ProcessState) string { return "" }

// tooMuch reports whether the system refused the size of the command line.
func tooMuch(err error) bool { return errors.Is(err, windows.ERROR_FILENAME_EXCED_RANGE) }
