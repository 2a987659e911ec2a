// How weir is at a glance: figures, what needs attention, charts, listeners.
import { usePoll } from '../api.js';
import { Chart } from '../chart.jsx';
import { ago, bytes, duration, percent, plural, rate, short, whole } from '../format.js';
import { useHistory } from '../history.js';
import { link } from '../router.js';
import { Card, Empty, Failure, Pill, Stat, useShell } from '../ui.jsx';

const percentText = (v) => short(v) + ' %';

const sum = (values, n) => values.slice(-n).reduce((a, b) => a + b, 0);

// Figures are of the last ten seconds, so that they do not jump.
function Figures({ h, status }) {
  const n = 5;
  const requests = sum(h.requests, n);
  const bad = sum(h.server_errors, n);
  const asked = sum(h.cache_asked, n);
  const points = Math.min(n, h.time.length) || 1;
  const p99 = Math.max(0, ...h.p99.slice(-n));
  return (
    <dl class="stats">
      <Stat label="Requests" value={short(requests / points)} note="a second" />
      <Stat label="Succeeded" value={requests ? percent(requests - bad, requests) : '–'} note={bad ? short(bad / points) + ' failed a second' : 'none failed'} tone={bad ? 'bad' : ''} />
      <Stat label="Latency p99" value={requests ? duration(p99) : '–'} note={requests ? 'p50 ' + duration(h.p50.at(-1)) : 'no requests'} />
      <Stat label="Running" value={whole(status.running)} note={plural(status.listeners.reduce((s, l) => s + l.open, 0), 'connection')} />
      <Stat label="Cache hits" value={asked ? percent(sum(h.cache_hits, n), asked) : '–'} note={asked ? short(asked / points) + ' asked a second' : 'not asked'} />
      <Stat label="Memory" value={bytes(h.memory.at(-1))} note={'CPU ' + short(100 * (h.cpu.at(-1) || 0)) + ' % of a core'} />
    </dl>
  );
}

const Charts = ({ h }) => (
  <div class="charts">
    <Chart title="Requests a second" time={h.time} text={short} series={[
      { label: 'all', colour: 'accent', values: h.requests, fill: true },
      { label: '4xx', colour: 'warn', values: h.client_errors },
      { label: 'failed', colour: 'bad', values: h.server_errors },
    ]} />
    <Chart title="Latency" time={h.time} text={duration} series={[
      { label: 'p50', colour: 'ok', values: h.p50 },
      { label: 'p90', colour: 'accent', values: h.p90 },
      { label: 'p99', colour: 'violet', values: h.p99 },
    ]} />
    <Chart title="Bodies" time={h.time} text={rate} series={[
      { label: 'to clients', colour: 'accent', values: h.bytes_out, fill: true },
      { label: 'from clients', colour: 'violet', values: h.bytes_in },
    ]} />
    <Chart title="At the same time" time={h.time} text={short} series={[
      { label: 'exchanges', colour: 'accent', values: h.running, fill: true },
      { label: 'connections', colour: 'violet', values: h.connections },
    ]} />
    <Chart title="Answered by the cache" time={h.time} text={percentText} max={100} series={[
      { label: 'of those asked', colour: 'ok', values: h.cache_asked.map((n, i) => (n ? (100 * h.cache_hits[i]) / n : null)), fill: true },
    ]} />
    <Chart title="Processor, of a core" time={h.time} text={percentText} series={[
      { label: 'used', colour: 'accent', values: h.cpu.map((c) => 100 * c), fill: true },
    ]} />
  </div>
);

// troubles are what an operator should look at first.
function troubles(status, upstreams, problems) {
  const list = [];
  if (status.state !== 'serving') list.push({ tone: 'warn', what: 'weir is ' + status.state, to: ['overview'] });
  if (status.reload_failed) {
    list.push({ tone: 'bad', what: 'The last reload failed: the file on disk is not what runs', more: status.last_reloads[0]?.error, to: ['config'] });
  }
  for (const u of upstreams) {
    const ill = u.targets.filter((t) => t.state !== 'healthy' && t.state !== 'slow_start');
    if (!u.targets.length) list.push({ tone: 'bad', what: u.name + ' has no targets', to: ['upstreams', [], { q: u.name }] });
    else if (ill.length === u.targets.length) list.push({ tone: 'bad', what: 'No target of ' + u.name + ' is usable', more: ill[0].reason, to: ['upstreams', [], { q: u.name }] });
    else if (ill.length) list.push({ tone: 'warn', what: ill.length + ' of ' + u.targets.length + ' targets of ' + u.name + ' are not usable', more: ill[0].name + ': ' + ill[0].state + (ill[0].reason ? ', ' + ill[0].reason : ''), to: ['upstreams', [], { q: u.name }] });
  }
  for (const p of problems) list.push({ tone: 'warn', what: p, to: ['config'] });
  return list;
}

function Attention({ status }) {
  const upstreams = usePoll('/upstreams', 5000).data?.upstreams || [];
  const problems = usePoll('/config/problems', 60000).data?.problems || [];
  const list = troubles(status, upstreams, problems);
  if (!list.length) return <Empty title="All is well">Targets are usable, and the configuration is the one of the file.</Empty>;
  return (
    <ul class="troubles">
      {list.slice(0, 12).map((t) => (
        <li key={t.what}>
          <a href={link(...t.to)}>
            <Pill tone={t.tone}>{t.tone === 'bad' ? 'wrong' : 'look'}</Pill> <span>{t.what}{t.more && <small>{t.more}</small>}</span>
          </a>
        </li>
      ))}
      {list.length > 12 && <li class="hint">and {list.length - 12} more</li>}
    </ul>
  );
}

const Listeners = ({ status }) => (
  <table>
    <thead><tr><th>Listener</th><th>Address</th><th class="n">Open</th><th class="n">Accepted</th></tr></thead>
    <tbody>
      {status.listeners.map((l) => (
        <tr key={l.name + l.address}>
          <td>{l.name} {l.tls && <Pill tone="plain">TLS</Pill>}</td>
          <td class="mono">{l.address}</td>
          <td class="n">{whole(l.open)}</td>
          <td class="n">{whole(l.accepted)}</td>
        </tr>
      ))}
    </tbody>
  </table>
);

export function Overview() {
  const { status } = useShell();
  const history = useHistory();
  const h = history.data;
  if (!status) return <div class="loading" role="status">Loading …</div>;
  return (
    <>
      <header class="top"><h1>Overview</h1><span class="hint">configuration loaded {ago(new Date(status.loaded))}</span></header>
      {history.error && <Failure error={history.error} />}
      {h && <Figures h={h} status={status} />}
      {h && <Charts h={h} />}
      <div class="pair">
        <Card title="What needs attention" id="attention" flush><Attention status={status} /></Card>
        <Card title="Listeners" id="listeners" flush><Listeners status={status} /></Card>
      </div>
    </>
  );
}
