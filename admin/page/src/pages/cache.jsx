// The cache: how well it does, what is in it, why something is not, and purging.
import { useEffect, useState } from 'preact/hooks';
import { get, post, usePoll } from '../api.js';
import { bytes, duration, percent, plural, short, span, whole } from '../format.js';
import { Bar, Button, Card, Choice, Confirm, Empty, Failure, Loaded, Pill, Stat, useShell } from '../ui.jsx';

const order = ['hit', 'stale', 'revalidate', 'miss', 'bypass', 'unavailable'];
const tones = { hit: 'ok', stale: 'warn', revalidate: 'accent', miss: 'violet', bypass: 'muted', unavailable: 'bad' };

function Figures({ s }) {
  const asked = Object.values(s.outcomes).reduce((a, b) => a + b, 0);
  const hits = (s.outcomes.hit || 0) + (s.outcomes.stale || 0);
  return (
    <>
      <dl class="stats">
        <Stat label="Answered" value={percent(hits, asked)} note={asked ? 'of ' + short(asked) + ' since the start' : 'not asked yet'} />
        <Stat label="Entries" value={whole(s.entries)} note={short(s.evicted) + ' made room for others'} />
        <Stat label="Memory" value={bytes(s.bytes)} note={percent(s.bytes, s.limit_bytes) + ' of ' + bytes(s.limit_bytes)} tone={s.bytes > 0.98 * s.limit_bytes ? 'warn' : ''} />
        <Stat label="Being fetched" value={bytes(s.filling_bytes)} note="on its way into memory" />
      </dl>
      {s.tiers.length > 0 && (
        <Card flush>
          <table>
            <thead><tr><th>Tier</th><th>State</th><th class="n">Hits</th><th class="n">Misses</th><th class="n">Errors</th><th class="n">To write</th><th class="n">To announce</th></tr></thead>
            <tbody>
              {s.tiers.map((t) => (
                <tr key={t.name}>
                  <td><b>{t.name}</b></td><td><Pill tone={t.up ? 'ok' : 'bad'}>{t.up ? 'works' : 'fails'}</Pill></td>
                  <td class="n">{whole(t.hits)}</td><td class="n">{whole(t.misses)}</td><td class="n">{whole(t.errors)}</td><td class="n">{whole(t.waiting)}</td><td class="n">{whole(t.unannounced)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Card>
      )}
    </>
  );
}

// Shares shows counts by name, the largest first.
function Shares({ counts, tone, none }) {
  const list = Object.entries(counts).filter(([, n]) => n).sort((a, b) => (order.indexOf(a[0]) - order.indexOf(b[0])) || b[1] - a[1]);
  const total = list.reduce((s, [, n]) => s + n, 0);
  if (!total) return <Empty title={none} />;
  return (
    <ul class="shares">
      {list.map(([name, n]) => (
        <li key={name}>
          <span>{name.replaceAll('_', ' ')}</span>
          <Bar part={n} total={total} tone={tone || tones[name]} label={percent(n, total)} />
          <span class="n">{whole(n)}</span>
        </li>
      ))}
    </ul>
  );
}

function Entries({ purge, why, purged }) {
  const [by, setBy] = useState('hits');
  const top = usePoll('/cache/top?by=' + by + '&limit=50', 5000);
  const { canWrite } = useShell();
  useEffect(() => {
    if (purged) top.again();
  }, [purged]);
  return (
    <Card id="entries" title="Entries in memory" flush aside={<Choice label="Order" value={by} options={[['hits', 'Most hits'], ['bytes', 'Most memory']]} onChange={setBy} />}>
      <Loaded of={top}>
        {({ entries }) => entries.length === 0 ? <Empty title="Nothing is stored yet">Entries appear when answers that may be stored have passed.</Empty> : (
          <div class="scroll">
            <table class="rows">
              <thead><tr><th>Next</th><th>URL</th><th class="n">Hits</th><th class="n">Memory</th><th class="n wide-only">Age</th><th class="n">Fresh for</th>{canWrite && <th><span class="unseen">Action</span></th>}</tr></thead>
              <tbody>
                {entries.map((e, i) => (
                  <tr key={e.method + e.url + (e.vary || []) + i} data-row tabIndex={-1}>
                    <td class="head"><Pill tone={e.next === 'hit' ? 'ok' : 'warn'} title={e.reason}>{e.next}</Pill></td>
                    <td class="mono wrap main">
                      <Button kind="link" onClick={() => why(e.url)}>{e.url}</Button>
                      <small class="reason">{[e.method !== 'GET' && e.method, e.status !== 200 && e.status, e.vary && 'varies by ' + e.vary.join(', '), e.on_disk && 'on disk', e.partial && 'in part'].filter(Boolean).join(', ')}</small>
                    </td>
                    <td class="n" data-label="hits">{whole(e.hits)}</td><td class="n" data-label="memory">{bytes(e.memory_bytes)}</td><td class="n wide-only">{span(e.age_seconds)}</td>
                    <td class="n" data-label="fresh for">{e.ttl_seconds > 0 ? span(e.ttl_seconds) : 'stale'}</td>
                    {canWrite && <td class="act"><Button kind="small" onClick={() => purge({ url: e.url })} label={'Purge ' + e.url}>Purge</Button></td>}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Loaded>
    </Card>
  );
}

function Why({ url, setUrl }) {
  const [state, setState] = useState({});
  const [asked, setAsked] = useState('');
  const ask = (url) => get('/cache/why?url=' + encodeURIComponent(url)).then((data) => setState({ data }), (error) => setState({ error }));
  if (url !== asked) {
    setAsked(url);
    if (url) ask(url);
  }
  const d = state.data;
  return (
    <Card id="why" title="Why is it stored, or not?">
      <form class="inline" onSubmit={(e) => { e.preventDefault(); const next = e.currentTarget.elements.url.value.trim(); next === url ? ask(next) : setUrl(next); }}>
        <input name="url" key={url} defaultValue={url} aria-label="URL" placeholder="https://www.example.org/path?query" spellcheck={false} required />
        <button class="button" type="submit">Ask</button>
      </form>
      {state.error && <Failure error={state.error} />}
      {d && !state.error && (
        <div class="verdict">
          <p><Pill tone={d.next === 'hit' ? 'ok' : 'warn'}>{d.next}</Pill> {d.because}</p>
          {d.entries.map((e, i) => (
            <p key={i} class="hint">{e.status} {bytes(e.body_bytes)}, {span(e.age_seconds)} old, {e.ttl_seconds > 0 ? 'fresh for ' + duration(e.ttl_seconds) : 'stale'}, {plural(e.hits, 'hit')}{e.vary && ', varies by ' + e.vary.join(', ')}{e.groups && ', groups ' + e.groups.join(', ')}</p>
          ))}
        </div>
      )}
    </Card>
  );
}

const kinds = [['url', 'One URL, all variants', 'https://www.example.org/a'], ['prefix', 'All that start so', 'https://www.example.org/shop/'], ['host', 'A host', 'www.example.org'], ['group', 'A group or surrogate key', 'news'], ['all', 'Everything', '']];

function Purge({ purge }) {
  const [kind, setKind] = useState('url');
  const [soft, setSoft] = useState(false);
  const [name, setName] = useState('');
  const submit = (e) => {
    e.preventDefault();
    purge({ [kind]: kind === 'all' ? true : name.trim(), soft });
  };
  return (
    <Card id="purge" title="Purge">
      <form class="purge" onSubmit={submit}>
        <select aria-label="What to purge" value={kind} onChange={(e) => setKind(e.currentTarget.value)}>
          {kinds.map(([id, text]) => <option key={id} value={id}>{text}</option>)}
        </select>
        {kind !== 'all' && <input aria-label="Its name" required spellcheck={false} value={name} placeholder={kinds.find(([id]) => id === kind)[2]} onInput={(e) => setName(e.currentTarget.value)} />}
        <label class="check"><input type="checkbox" checked={soft} onChange={(e) => setSoft(e.currentTarget.checked)} /> soft: entries become stale and are validated, instead of being removed</label>
        <button class="button danger" type="submit">Purge</button>
      </form>
    </Card>
  );
}

export function Cache() {
  const stats = usePoll('/cache', 2000);
  const { toast, canWrite } = useShell();
  const [url, setUrl] = useState('');
  const [asked, setAsked] = useState(null);
  const [purged, setPurged] = useState(0);
  const run = (p) => post('/purge', p).then((d) => {
    toast('Purged ' + plural(d.purged, 'entry', 'entries') + (d.pending ? '; still to be told: ' + d.pending.join(', ') : ''));
    setPurged((n) => n + 1);
    stats.again();
  }, (e) => toast(e.message, true));
  const purge = (p) => (p.all ? setAsked(p) : run(p));
  if (stats.error?.status === 404) {
    return (
      <>
        <header class="top"><h1>Cache</h1></header>
        <Empty title="No route has a cache">With <code>cache = true</code> a route keeps the answers that may be kept, by RFC 9111.</Empty>
      </>
    );
  }
  return (
    <>
      <header class="top"><h1>Cache</h1></header>
      <Loaded of={stats}>
        {(s) => (
          <>
            <Figures s={s} />
            <div class="trio">
              <Card id="outcomes" title="What requests came to" flush><Shares counts={s.outcomes} none="Not asked yet" /></Card>
              <Card id="reasons" title="Why the origin was asked" flush><Shares counts={s.reasons} tone="accent" none="It was not" /></Card>
              <Card id="unstored" title="Why answers were not stored" flush><Shares counts={s.unstored} tone="violet" none="All were" /></Card>
            </div>
          </>
        )}
      </Loaded>
      <div class="pair">
        <Why url={url} setUrl={setUrl} />
        {canWrite && <Purge purge={purge} />}
      </div>
      <Entries purge={purge} purged={purged} why={(u) => { setUrl(u); document.getElementById('why-card').scrollIntoView({ block: 'nearest' }); }} />
      {asked && <Confirm title="Purge everything?" action="Purge everything" onYes={() => run(asked)} onClose={() => setAsked(null)}>All entries, here and with all who share a tier, {asked.soft ? 'become stale' : 'are removed'}. Every request then goes to the targets.</Confirm>}
    </>
  );
}
