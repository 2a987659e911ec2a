package registertest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-zookeeper/zk"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weir/discover/consul/consultest"
	"weir/discover/discovertest"
	"weir/discover/etcd/etcdtest"
	"weir/discover/zookeeper/zookeepertest"
	"weir/internal/testkit"
)

// registry is what the command writes to.
type registry struct {
	// flags name it.
	flags []string
	// entry returns what it has of the only endpoint, as text; "" for nothing.
	entry func() string
	// drains is in the entry of an endpoint that drains.
	drains string
	// lose makes the registry forget the endpoint, and what its lease or session was.
	lose func() error
}

func openEtcd(t *testing.T, _ string) registry {
	testkit.Program(t, "etcd")
	s, err := etcdtest.Start()
	testkit.Must(t, err)
	t.Cleanup(s.Close)
	get := func() *clientv3.GetResponse {
		found, err := s.Client.Get(context.Background(), "/services/", clientv3.WithPrefix())
		if err != nil {
			t.Error(err)
			return new(clientv3.GetResponse)
		}
		return found
	}
	return registry{
		flags: []string{"--registry", "etcd://" + s.Addr + "/services"},
		entry: func() string {
			for _, kv := range get().Kvs {
				return string(kv.Key) + " " + string(kv.Value)
			}
			return ""
		},
		drains: `"drain":true`,
		lose: func() error {
			for _, kv := range get().Kvs {
				if _, err := s.Client.Revoke(context.Background(), clientv3.LeaseID(kv.Lease)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func openZooKeeper(t *testing.T, _ string) registry {
	testkit.Program(t, zookeepertest.Program)
	s, err := zookeepertest.Start()
	testkit.Must(t, err)
	t.Cleanup(s.Close)
	const parent = "/services/shop/v1"
	child := func() (string, []byte) {
		names, _, err := s.Conn.Children(parent)
		if err != nil || len(names) == 0 {
			return "", nil
		}
		data, _, err := s.Conn.Get(parent + "/" + names[0])
		if err != nil {
			return "", nil
		}
		return parent + "/" + names[0], data
	}
	return registry{
		flags: []string{"--registry", "zookeeper://" + s.Addr + "/services"},
		entry: func() string {
			path, data := child()
			return strings.TrimSpace(path + " " + string(data))
		},
		drains: `"drain":true`,
		lose: func() error {
			path, _ := child()
			if err := s.Conn.Delete(path, -1); err != nil && err != zk.ErrNoNode {
				return err
			}
			return nil
		},
	}
}

func openConsul(t *testing.T, _ string) registry {
	s, err := consultest.Start()
	testkit.Must(t, err)
	t.Cleanup(func() { s.Stop() })
	return registry{
		flags: []string{"--registry", "consul://" + s.Addr},
		entry: func() string {
			r, err := http.Get("http://" + s.Addr + "/v1/health/service/shop")
			if err != nil {
				return ""
			}
			defer r.Body.Close()
			text, _ := io.ReadAll(r.Body)
			if !bytes.Contains(text, []byte(`"shop"`)) || bytes.Contains(text, []byte(`"critical"`)) {
				return ""
			}
			return string(text)
		},
		drains: `"drain":"true"`,
		lose:   func() error { s.Forget(); return nil },
	}
}

func openWeir(t *testing.T, binary string) registry {
	folder := t.TempDir()
	socket, config := filepath.Join(folder, "admin"), filepath.Join(folder, "weir.toml")
	testkit.Must(t, os.WriteFile(config, fmt.Appendf(nil, "listeners = [{ address = \"127.0.0.1:0\" }]\nroutes = [{ respond = { body = \"x\" } }]\nadmin.address = \"unix:%s\"\n", socket), 0o600))
	begin(t, exec.Command(binary, "run", "--config", config))
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	do := func(method, path string) (string, error) {
		request, err := http.NewRequest(method, "http://localhost/registry"+path, nil)
		if err != nil {
			return "", err
		}
		r, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		return string(text), err
	}
	testkit.Eventually(t, "weir serves", func() bool { _, err := do("GET", ""); return err == nil })
	return registry{
		flags: []string{"--admin", "unix:" + socket},
		entry: func() string {
			text, _ := do("GET", "")
			var all struct {
				Services []struct{ Endpoints []json.RawMessage }
			}
			if json.Unmarshal([]byte(text), &all) == nil && len(all.Services) > 0 && len(all.Services[0].Endpoints) > 0 {
				return string(all.Services[0].Endpoints[0])
			}
			return ""
		},
		drains: `"drain":true`,
		lose:   func() error { _, err := do("DELETE", "/shop/v1"); return err },
	}
}

// program is a process of the test.
type program struct {
	*exec.Cmd
	ended chan struct{}
}

// begin starts a command, which ends with the test, together with what it starts.
func begin(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{cmd, make(chan struct{})}
	log, err := os.CreateTemp(t.TempDir(), "log")
	testkit.Must(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	testkit.Must(t, cmd.Start())
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-p.ended
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s:\n%s", cmd, text)
		}
	})
	return p
}

// A service is registered while it runs, found again after the registry has lost it, drained before it stops, and
// gone when the service, or the command itself, is killed.
func TestRegister(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-trimpath", "-tags", "etcd", "-o", binary, "weir").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, open := range map[string]func(*testing.T, string) registry{"etcd": openEtcd, "zookeeper": openZooKeeper, "consul": openConsul, "weir": openWeir} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keeps(t, binary, open(t, binary))
		})
	}
}

func keeps(t *testing.T, binary string, r registry) {
	address, err := discovertest.FreeAddress()
	testkit.Must(t, err)
	pidFile := filepath.Join(t.TempDir(), "pid")
	service := []string{binary, "run", "--listen", address, "--to", "demo:one", "--pid-file", pidFile}
	register := func(more ...string) *program {
		t.Helper()
		args := append([]string{"register", "--service", "shop", "--version", "v1", "--endpoint", "http://" + address, "--every", "50ms", "--ttl", "2s", "--drain", "1h"}, r.flags...)
		return begin(t, exec.Command(binary, append(args, more...)...))
	}
	has := func(what string) {
		t.Helper()
		testkit.Eventually(t, what+": it is registered", func() bool { return strings.Contains(r.entry(), address) })
	}
	gone := func(what string) {
		t.Helper()
		testkit.Eventually(t, what+": it is not registered", func() bool { return r.entry() == "" })
	}
	kill := func() {
		t.Helper()
		var pid int
		testkit.Eventually(t, "the service has its pid file", func() bool {
			text, err := os.ReadFile(pidFile)
			_, wrong := fmt.Sscan(string(text), &pid)
			return err == nil && wrong == nil && pid > 1
		})
		testkit.Must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	command := append([]string{"--"}, service...)

	one := register(command...)
	has("started")
	testkit.Must(t, r.lose())
	has("lost")
	kill()
	<-one.ended
	if code := one.ProcessState.ExitCode(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("the service was killed: exit code %d", code)
	}
	gone("the service was killed")

	two := register(command...)
	has("started again")
	testkit.Must(t, two.Process.Signal(syscall.SIGTERM))
	testkit.Eventually(t, "it drains", func() bool { return strings.Contains(strings.ReplaceAll(r.entry(), " ", ""), r.drains) })
	kill() // which ends the drain
	<-two.ended
	gone("the service ended while it drained")

	running := begin(t, exec.Command(service[0], service[1:]...))
	three := register("--pid", fmt.Sprint(running.Process.Pid))
	has("--pid")
	testkit.Must(t, three.Process.Kill())
	<-three.ended
	gone("weir register was killed")
	select {
	case <-running.ended:
		t.Error("the service of --pid has ended with weir register")
	default:
	}
}
