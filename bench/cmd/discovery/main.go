// Command discovery shows that traffic follows each kind of source while what the source reads
// changes, restarts, is gone, is cut off and answers nonsense, and prints the table of
// docs/discovery.md. etcd and ZooKeeper must be installed; all else is its own. Arguments name the
// kinds, such as "dns:"; none means all.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/discover/consul"
	"weir/discover/consul/consultest"
	"weir/discover/discovertest"
	"weir/discover/dns"
	"weir/discover/dns/dnstest"
	"weir/discover/etcd"
	"weir/discover/etcd/etcdtest"
	"weir/discover/file"
	"weir/discover/kubernetes"
	"weir/discover/kubernetes/kubetest"
	"weir/discover/list"
	"weir/discover/zookeeper"
	"weir/discover/zookeeper/zookeepertest"
)

func main() {
	var o discovertest.Options
	flag.IntVar(&o.Rate, "rate", 500, "requests per second for each source")
	flag.DurationVar(&o.Gone, "gone", time.Minute, "how long a server stays away")
	flag.DurationVar(&o.Broken, "broken", 10*time.Second, "how long a server answers nonsense")
	flag.Parse()
	if err := run(os.Stdout, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "discovery:", err)
		os.Exit(1)
	}
}

// kind is a kind of source. open starts what it reads and returns how to end that.
type kind struct {
	name string
	open func() (discovertest.Place, func(), error)
}

func kinds() []kind {
	return []kind{
		{"file:", openFile},
		{"list+http:", openList},
		{dnstest.HostName, openDNS(dnstest.HostName)},
		{dnstest.Addresses, openDNS(dnstest.Addresses)},
		{dnstest.Services, openDNS(dnstest.Services)},
		{"consul:", openConsul},
		{"etcd:", openEtcd},
		{"zookeeper:", openZooKeeper},
		{"kubernetes:", openKubernetes},
	}
}

// run shows one kind after the other: all, or those that are named.
func run(out io.Writer, o discovertest.Options, names []string) error {
	var errs []error
	head := true
	for _, k := range kinds() {
		if len(names) > 0 && !slices.Contains(names, k.name) {
			continue
		}
		place, end, err := k.open()
		var steps []discovertest.Step
		if err == nil {
			steps, err = discovertest.Show(place, o, nil)
			end()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %w", k.name, err))
		}
		row(out, k.name, steps, head)
		head = false
	}
	return errors.Join(errs...)
}

// row prints a row of the table, and with head the rows above it.
func row(out io.Writer, name string, steps []discovertest.Step, head bool) {
	names, rule, cells := []string{"source"}, []string{"---"}, []string{"`" + name + "`"}
	requests, failed := 0, 0
	for _, s := range steps {
		names, rule = append(names, s.Name), append(rule, "---")
		requests, failed = requests+s.Requests, failed+s.Failed
		cells = append(cells, fmt.Sprintf("%.2f s", s.After.Seconds()))
	}
	names, rule = append(names, "requests", "failed"), append(rule, "---", "---")
	cells = append(cells, fmt.Sprint(requests), fmt.Sprint(failed))
	rows := [][]string{cells}
	if head {
		rows = [][]string{names, rule, cells}
	}
	for _, r := range rows {
		fmt.Fprintln(out, "| "+strings.Join(r, " | ")+" |")
	}
}

func openFile() (discovertest.Place, func(), error) {
	folder, err := os.MkdirTemp("", "discovery")
	return discovertest.File(filepath.Join(folder, "targets.json"), file.Scheme()), func() { os.RemoveAll(folder) }, err
}

func openList() (discovertest.Place, func(), error) {
	p, err := discovertest.StartPage()
	return p.Place(list.Schemes()), func() { p.Stop() }, err
}

func openDNS(way string) func() (discovertest.Place, func(), error) {
	return func() (discovertest.Place, func(), error) {
		p, err := dnstest.Place(way, dns.Schemes())
		return p, func() { p.Stop() }, err
	}
}

func openConsul() (discovertest.Place, func(), error) {
	s, err := consultest.Start()
	return s.Place(consul.Scheme()), func() { s.Stop() }, err
}

func openKubernetes() (discovertest.Place, func(), error) {
	s, err := kubetest.Start()
	return s.Place(kubernetes.Scheme()), func() { s.Stop() }, err
}

func openEtcd() (discovertest.Place, func(), error) {
	s, err := etcdtest.Start()
	if err != nil {
		return discovertest.Place{}, nil, err
	}
	return s.Place(etcd.Scheme()), s.Close, nil
}

func openZooKeeper() (discovertest.Place, func(), error) {
	s, err := zookeepertest.Start()
	if err != nil {
		return discovertest.Place{}, nil, err
	}
	return s.Place(zookeeper.Scheme()), s.Close, nil
}
