// Command controlplane is a whole Kubernetes control plane in one binary, for tests: each component is a
// subcommand that takes the flags of the upstream program of that name.
//
//	controlplane etcd --data-dir /tmp/d ...
//	controlplane kube-apiserver --etcd-servers http://127.0.0.1:2379 ...
//
// The components are linked as Go modules because no container image can be pulled where the tests run, and
// because one link is four times smaller on disk and quicker to build than four programs.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	etcd "go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

const usage = `usage: controlplane COMPONENT [FLAG ...]

COMPONENT is one of etcd, kube-apiserver, kube-controller-manager, kube-scheduler.
Example: controlplane kube-apiserver --help`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	component := os.Args[1]
	os.Args = os.Args[1:]

	var command *cobra.Command
	switch component {
	case "etcd":
		etcd.Main(os.Args)
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	default:
		fmt.Fprintf(os.Stderr, "controlplane: no component %q\n%s\n", component, usage)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
