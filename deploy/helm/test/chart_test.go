// Package test renders, lints and checks the Helm chart of weir. It is a module of its own, so that programs
// that embed weir do not inherit Helm.
package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const chart = "../weir"

// monitor is a ServiceMonitor or a PodMonitor, whose types are those of the Prometheus operator.
type monitor struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		Selector            meta.LabelSelector `json:"selector"`
		Endpoints           []endpoint         `json:"endpoints"`
		PodMetricsEndpoints []endpoint         `json:"podMetricsEndpoints"`
	} `json:"spec"`
}

type endpoint struct {
	Port     string `json:"port"`
	Interval string `json:"interval"`
}

// kinds make an object of each kind that the chart has.
var kinds = map[string]func() any{
	"Deployment": func() any { return new(apps.Deployment) }, "DaemonSet": func() any { return new(apps.DaemonSet) }, "Service": func() any { return new(core.Service) },
	"ConfigMap": func() any { return new(core.ConfigMap) }, "ServiceAccount": func() any { return new(core.ServiceAccount) }, "Role": func() any { return new(rbac.Role) },
	"RoleBinding": func() any { return new(rbac.RoleBinding) }, "HorizontalPodAutoscaler": func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"PodDisruptionBudget": func() any { return new(policy.PodDisruptionBudget) }, "ServiceMonitor": func() any { return new(monitor) }, "PodMonitor": func() any { return new(monitor) },
}

// files renders the chart with values in YAML, and returns the files.
func files(t *testing.T, values string) (map[string]string, error) {
	t.Helper()
	c, err := loader.LoadDir(chart)
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(c, given, chartutil.ReleaseOptions{Name: "edge", Namespace: "front", IsInstall: true, Revision: 1}, chartutil.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// render renders the chart with values in YAML, and returns its objects. Unknown keys of objects are errors.
func render(t *testing.T, values string) (objects []any, err error) {
	t.Helper()
	all, err := files(t, values)
	if err != nil {
		return nil, err
	}
	for name, text := range all {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		for _, document := range strings.Split("\n"+text, "\n---") {
			if strings.TrimSpace(document) == "" {
				continue
			}
			var kind meta.TypeMeta
			if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			object := kinds[kind.Kind]
			if object == nil {
				t.Fatalf("%s: kind %q is not looked at", name, kind.Kind)
			}
			o := object()
			if err := yaml.UnmarshalStrict([]byte(document), o); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, document)
			}
			objects = append(objects, o)
		}
	}
	return objects, nil
}

// of returns the objects of a type.
func of[T any](objects []any) (found []*T) {
	for _, o := range objects {
		if o, ok := o.(*T); ok {
			found = append(found, o)
		}
	}
	return found
}

// pods is the template of the pods.
func pods(t *testing.T, objects []any) core.PodSpec {
	t.Helper()
	if d := of[apps.Deployment](objects); len(d) == 1 {
		return d[0].Spec.Template.Spec
	}
	d := of[apps.DaemonSet](objects)
	if len(d) != 1 {
		t.Fatalf("%d workloads: want one", len(d))
	}
	return d[0].Spec.Template.Spec
}

// weir is the program.
var weir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weir")
	if err == nil {
		weir = filepath.Join(dir, "weir")
		c := exec.Command("make", "build", "OUT="+dir)
		c.Dir = "../../.."
		var out []byte
		if out, err = c.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cannot build weir:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// checks lets weir check the configuration of the pods, with their environment.
func checks(t *testing.T, objects []any) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(of[core.ConfigMap](objects)[0].Data["config.toml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.Command(weir, "check", "--config", file)
	c.Env = append(os.Environ(), "KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=1")
	for _, e := range pods(t, objects).Containers[0].Env {
		c.Env = append(c.Env, e.Name+"="+e.Value)
	}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Errorf("weir check: %v\n%s", err, out.String())
	}
}

const discovered = `
config: |
  [[listeners]]
  address = ":8080"
  [[routes]]
  upstream = "shop"
  [upstreams.shop]
  targets = ["kubernetes:{{ .Release.Namespace }}/shop:http"]
`

// TestValues: what the chart makes of several sets of values is understood by Kubernetes and by weir.
func TestValues(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]struct {
		values string
		counts map[string]int
	}{
		"defaults":    {"", map[string]int{"workload": 1, "hpa": 0, "pdb": 1, "monitors": 0, "services": 1, "roles": 1}},
		"daemon set":  {"kind: DaemonSet\nservice: {type: LoadBalancer, externalTrafficPolicy: Local}", map[string]int{"workload": 1, "hpa": 0, "pdb": 0, "monitors": 0, "services": 1, "roles": 1}},
		"scaling":     {"autoscaling: {enabled: true, maxReplicas: 5}\nwatchConfig: false", map[string]int{"workload": 1, "hpa": 1, "pdb": 1, "monitors": 0, "services": 1, "roles": 1}},
		"monitors":    {"serviceMonitor: {enabled: true, labels: {release: prometheus}}\npodMonitor: {enabled: true}", map[string]int{"workload": 1, "hpa": 0, "pdb": 1, "monitors": 2, "services": 2, "roles": 1}},
		"discovery":   {discovered + "rbac: {namespaces: [shop, blog]}", map[string]int{"workload": 1, "hpa": 0, "pdb": 1, "monitors": 0, "services": 1, "roles": 2}},
		"bare":        {"service: {enabled: false}\nrbac: {create: false}\nserviceAccount: {create: false}\npodDisruptionBudget: {enabled: false}", map[string]int{"workload": 1, "hpa": 0, "pdb": 0, "monitors": 0, "services": 0, "roles": 0}},
		"additions":   {"env: [{name: TOKEN, value: x}]\nvolumes: [{name: tls, secret: {secretName: tls}}]\nvolumeMounts: [{name: tls, mountPath: /tls, readOnly: true}]\nnodeSelector: {edge: \"yes\"}\ntolerations: [{operator: Exists}]\npodLabels: {team: edge}\nimage: {repository: r.example/weir, tag: v1, pullSecrets: [{name: pull}]}", map[string]int{"workload": 1, "hpa": 0, "pdb": 1, "monitors": 0, "services": 1, "roles": 1}},
		"termination": {"termination: {delaySeconds: 60, drainSeconds: 300}\nmetricsPort: 9000", map[string]int{"workload": 1, "hpa": 0, "pdb": 1, "monitors": 0, "services": 1, "roles": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, err := render(t, set.values)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]int{
				"workload": len(of[apps.Deployment](objects)) + len(of[apps.DaemonSet](objects)), "hpa": len(of[autoscaling.HorizontalPodAutoscaler](objects)),
				"pdb": len(of[policy.PodDisruptionBudget](objects)), "monitors": len(of[monitor](objects)), "services": len(of[core.Service](objects)), "roles": len(of[rbac.Role](objects)),
			}
			if fmt.Sprint(got) != fmt.Sprint(set.counts) {
				t.Errorf("objects %v, want %v", got, set.counts)
			}
			judge(t, objects)
			checks(t, objects)
		})
	}
}

// judge looks at what all sets of values have in common.
func judge(t *testing.T, objects []any) {
	t.Helper()
	p := pods(t, objects)
	c := p.Containers[0]
	env := make(map[string]string)
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	var delay, drain int64
	if _, err := fmt.Sscanf(env["WEIR_LIFECYCLE__DELAY"]+" "+env["WEIR_LIFECYCLE__DRAIN"], "%ds %ds", &delay, &drain); err != nil {
		t.Fatal(err, env)
	}
	if *p.TerminationGracePeriodSeconds <= delay+drain || delay == 0 {
		t.Errorf("a pod has %d s to end: want more than %d s and %d s together", *p.TerminationGracePeriodSeconds, delay, drain)
	}
	// Readiness is asked often enough to be seen within the delay.
	if probe := c.ReadinessProbe; int64(probe.PeriodSeconds*probe.FailureThreshold) >= delay || probe.HTTPGet.Path != "/-/ready" || c.LivenessProbe.HTTPGet.Path != "/-/healthy" {
		t.Errorf("probes: %+v", c.ReadinessProbe)
	}
	s := c.SecurityContext
	if !*p.SecurityContext.RunAsNonRoot || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || p.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
		t.Errorf("security: %+v %+v", p.SecurityContext, s)
	}
	if r := c.Resources; r.Requests.Cpu().String() != "100m" || r.Requests.Memory().String() != "128Mi" || r.Limits.Cpu().String() != "600m" || r.Limits.Memory().String() != "512Mi" {
		t.Errorf("resources: %+v", r)
	}
	ports := make(map[int32]bool)
	for _, port := range c.Ports {
		ports[port.ContainerPort] = true
	}
	for _, service := range of[core.Service](objects) {
		for _, port := range service.Spec.Ports {
			if port.TargetPort.StrVal != "metrics" && !ports[port.TargetPort.IntVal] {
				t.Errorf("service %s leads to port %v, which the pod does not have", service.Name, port.TargetPort)
			}
		}
	}
	for _, role := range of[rbac.Role](objects) {
		if len(role.Rules) != 1 || fmt.Sprint(role.Rules[0].APIGroups, role.Rules[0].Resources, role.Rules[0].Verbs) != "[discovery.k8s.io] [endpointslices] [list watch]" {
			t.Errorf("role %s: %+v", role.Namespace, role.Rules)
		}
	}
	for _, m := range c.VolumeMounts {
		if !slices.ContainsFunc(p.Volumes, func(v core.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
}

// What Helm says after an installation can be done: without a Service the pods themselves are asked.
func TestNotes(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"": "kubectl -n front port-forward svc/edge-weir 8080:80\n",
		"service: {enabled: false}\nkind: DaemonSet": "kubectl -n front port-forward daemonset/edge-weir 8080:8080\n",
	} {
		all, err := files(t, values)
		if err != nil {
			t.Fatal(err)
		}
		if got := all["weir/templates/NOTES.txt"]; !strings.Contains(got, want) {
			t.Errorf("%s: the notes are %q, without %q", values, got, want)
		}
	}
}

// TestSchema: values that cannot be right are refused, with their name.
func TestSchema(t *testing.T) {
	t.Parallel()
	for values, want := range map[string]string{
		"kind: StatefulSet":              "kind",
		"replica: 3":                     "replica",
		"replicas: many":                 "replicas",
		"metricsPort: 70000":             "metricsPort",
		"service: {type: Internal}":      "type",
		"termination: {delay: 3s}":       "delay",
		"image: {pullPolicy: sometimes}": "pullPolicy",
		"config: \"\"":                   "config",
	} {
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %q", values, err, want)
		}
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	linted := lint.All(chart, nil, "front", true)
	for _, m := range linted.Messages {
		if m.Severity > support.InfoSev {
			t.Error(m)
		}
	}
}
