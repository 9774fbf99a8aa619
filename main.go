// Command hookrun turns webhooks into actions on machines with no public IP.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"hookrun/engine/cli"
)

func main() {
	cli.Launch(os.Args)
	ctx, stop := context.WithCancel(context.Background())
	hurry := make(chan struct{})
	ends := make(chan os.Signal, 2)
	signal.Notify(ends, os.Interrupt, syscall.SIGTERM)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	go func() { // lives as long as the process
		<-ends
		stop()
		<-ends
		close(hurry)
	}()
	os.Exit(cli.Main(ctx, os.Args[1:], cli.Process{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Hurry: hurry, Reload: reload,
	}))
}
