// The upstreams and their targets: how they are, and what an operator may do to them.
import { useState } from 'preact/hooks';
import { post, usePoll } from '../api.js';
import { ago, duration, moment, percent, plural, short, whole } from '../format.js';
import { replace } from '../router.js';
import { Bar, Button, Card, Choice, Dialog, Empty, Failure, Loaded, Pill, Search, useRates, useShell } from '../ui.jsx';

const usable = (t) => t.state === 'healthy' || t.state === 'slow_start';
const tone = (t) => (t.state === 'healthy' ? 'ok' : usable(t) || t.state === 'draining' ? 'warn' : 'bad');

// shownAtFirst bounds the rows of an upstream, which may have thousands of targets.
const shownAtFirst = 50;

function Weigh({ upstream, target, onClose, onDone }) {
  const [error, setError] = useState(null);
  const [weight, setWeight] = useState(String(target.weight));
  const set = (weight) => post('/weight', { upstream, target: target.name, weight }).then(onDone, setError);
  const configured = target.configured_weight || target.weight;
  return (
    <Dialog title={'Weight of ' + target.name} onClose={onClose}>
      <form onSubmit={(e) => { e.preventDefault(); set(Number(weight)); }}>
        <label class="field">
          Share relative to the other targets
          <input type="number" min="1" required value={weight} autofocus onInput={(e) => setWeight(e.currentTarget.value)} />
        </label>
        <p class="hint">The configuration says {configured}. A change lasts over reloads, until weir stops.</p>
        {error && <Failure error={error} />}
        <footer>
          {target.configured_weight > 0 && <Button onClick={() => set(0)}>Back to {configured}</Button>}
          <button class="button primary" type="submit">Set</button>
        </footer>
      </form>
    </Dialog>
  );
}

function TargetRow({ u, t, rate, most, chosen, choose, drain, weigh }) {
  const { canWrite } = useShell();
  const total = t.succeeded + t.failed;
  return (
    <tr data-row tabIndex={-1} class={usable(t) ? '' : 'off'}>
      {canWrite && (
        <td class="pick"><input type="checkbox" aria-label={'Select ' + t.name} checked={chosen} onChange={choose} /></td>
      )}
      <td class="head"><Pill tone={tone(t)}>{t.state.replace('_', ' ')}</Pill></td>
      <td class="mono wrap main">
        {t.name}
        {t.reason && <small class="reason">{t.reason}</small>}
        {t.source && <small class="reason" title={moment(t.seen)}>found by {t.source}, seen {ago(new Date(t.seen))}</small>}
        {t.kept && <small class="reason">kept, because {t.kept}</small>}
      </td>
      <td class="n" data-label="weight">
        {canWrite ? <Button kind="link" onClick={weigh} label={'Change the weight of ' + t.name}>{t.weight}</Button> : t.weight}
        {t.configured_weight > 0 && <small> of {t.configured_weight}</small>}
      </td>
      <td class="n wide-only">{t.priority}</td>
      <td class="n load" data-label="running"><Bar part={t.in_flight} total={most} tone="accent" label={t.in_flight + ' running'} />{whole(t.in_flight)}</td>
      <td class="n" data-label="per s">{rate == null ? '–' : short(rate)}</td>
      <td class="n" data-label="latency">{t.latency_seconds ? duration(t.latency_seconds) : '–'}</td>
      <td class="n wide-only">{whole(total)}</td>
      <td class={'n' + (t.failed ? ' bad-text' : '')} data-label="failed" title={whole(t.failed) + ' failed, ' + t.failed_in_a_row + ' in a row'}>{t.failed ? percent(t.failed, total) : '0'}</td>
      {canWrite && (
        <td class="act">
          <Button kind="small" onClick={() => drain(t.state !== 'draining')} label={(t.state === 'draining' ? 'Undrain ' : 'Drain ') + t.name}>{t.state === 'draining' ? 'Undrain' : 'Drain'}</Button>
        </td>
      )}
    </tr>
  );
}

function Upstream({ u, targets, rates, chosen, setChosen, act, weigh }) {
  const { canWrite } = useShell();
  const [all, setAll] = useState(false);
  const ok = u.targets.filter(usable).length;
  const running = u.targets.reduce((n, t) => n + t.in_flight, 0);
  const most = Math.max(1, ...u.targets.map((t) => t.in_flight));
  const rate = u.targets.reduce((n, t) => n + (rates[u.name + ' ' + t.name] || 0), 0);
  const shown = all ? targets : targets.slice(0, shownAtFirst);
  const key = (t) => u.name + '\n' + t.name;
  const picked = targets.length > 0 && targets.every((t) => chosen.has(key(t)));
  const pickAll = () => setChosen((s) => new Set(picked ? [...s].filter((k) => !k.startsWith(u.name + '\n')) : [...s, ...targets.map(key)]));
  return (
    <Card id={'u-' + u.name} flush title={u.name} aside={
      <span class="facts">
        <Pill tone={ok === u.targets.length ? 'ok' : ok ? 'warn' : 'bad'}>{ok} of {u.targets.length} usable</Pill>
        <span>{short(rate)}/s</span>
        <span>{whole(running)} running</span>
      </span>
    }>
      {targets.length === 0 ? <Empty title="No targets">{u.targets.length ? 'None fits the filter.' : 'None is configured, and discovery has found none.'}</Empty> : (
        <div class="scroll">
          <table class="rows">
            <thead>
              <tr>
                {canWrite && <th class="pick"><input type="checkbox" aria-label={'Select all targets of ' + u.name} checked={picked} onChange={pickAll} /></th>}
                <th>State</th><th>Target</th><th class="n">Weight</th><th class="n wide-only">Group</th><th class="n">Running</th>
                <th class="n">Per s</th><th class="n">Latency</th><th class="n wide-only">Exchanges</th><th class="n">Failed</th>
                {canWrite && <th><span class="unseen">Action</span></th>}
              </tr>
            </thead>
            <tbody>
              {shown.map((t) => (
                <TargetRow key={t.name} u={u} t={t} most={most} rate={rates[u.name + ' ' + t.name]} chosen={chosen.has(key(t))}
                  choose={() => setChosen((s) => { const n = new Set(s); n.delete(key(t)) || n.add(key(t)); return n; })}
                  drain={(on) => act([[u.name, t.name]], on)} weigh={() => weigh({ upstream: u.name, target: t })} />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {shown.length < targets.length && <p class="pad"><Button onClick={() => setAll(true)}>Show all {whole(targets.length)} targets</Button></p>}
    </Card>
  );
}

// visible are the targets that fit search and state, those in trouble first.
function visible(u, q, only) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  return u.targets
    .filter((t) => only !== 'ill' || !usable(t))
    .filter((t) => words.every((w) => [u.name, t.name, t.state, t.reason, t.source, t.kept].join(' ').toLowerCase().includes(w)))
    .sort((a, b) => usable(a) - usable(b) || a.priority - b.priority);
}

export function Upstreams({ route }) {
  const list = usePoll('/upstreams', 2000);
  const { toast, canWrite } = useShell();
  const [chosen, setChosen] = useState(new Set());
  const [weighed, weigh] = useState(null);
  const { q = '', only = '' } = route.query;
  const counters = list.data && Object.fromEntries(list.data.upstreams.flatMap((u) => u.targets.map((t) => [u.name + ' ' + t.name, t.succeeded + t.failed])));
  const rates = useRates(counters, list.at);
  const act = async (targets, on) => {
    const results = await Promise.allSettled(targets.map(([upstream, target]) => post('/drain', { upstream, target, on })));
    const failed = results.find((r) => r.status === 'rejected');
    if (failed) toast(failed.reason.message, true);
    else toast(targets.length === 1 ? targets[0][1] + (on ? ' is draining' : ' takes exchanges again') : plural(targets.length, 'target') + (on ? ' are draining' : ' take exchanges again'));
    setChosen(new Set());
    list.again();
  };
  const picked = [...chosen].map((k) => k.split('\n'));
  return (
    <>
      <header class="top">
        <h1>Upstreams</h1>
        <Search value={q} label="Search upstreams and targets" placeholder="upstream, target, state, reason" onInput={(q) => replace('upstreams', [], { q, only })} />
        <Choice label="Which targets" value={only} options={[['', 'All'], ['ill', 'Not usable']]} onChange={(only) => replace('upstreams', [], { q, only })} />
      </header>
      <Loaded of={list}>
        {({ upstreams }) => {
          const shown = upstreams.map((u) => [u, visible(u, q, only)]).filter(([u, t]) => t.length || (!q && !only));
          if (!upstreams.length) return <Empty title="There are no upstreams">No route forwards anything. A table [upstreams.NAME] in the configuration makes one.</Empty>;
          if (!shown.length) return <Empty title={only && !q ? 'All targets are usable' : 'Nothing fits the search'} />;
          return shown.map(([u, targets]) => <Upstream key={u.name} u={u} targets={targets} rates={rates} chosen={chosen} setChosen={setChosen} act={act} weigh={weigh} />);
        }}
      </Loaded>
      {canWrite && picked.length > 0 && (
        <div class="actions" role="region" aria-label="Selected targets">
          <span>{plural(picked.length, 'target')} selected</span>
          <Button onClick={() => act(picked, true)}>Drain</Button>
          <Button onClick={() => act(picked, false)}>Undrain</Button>
          <Button kind="quiet" icon="close" label="Select none" onClick={() => setChosen(new Set())} />
        </div>
      )}
      {weighed && <Weigh {...weighed} onClose={() => weigh(null)} onDone={(t) => { weigh(null); toast(t.name + ' weighs ' + t.weight); list.again(); }} />}
    </>
  );
}
