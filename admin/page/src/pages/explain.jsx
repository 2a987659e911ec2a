// What weir would do with a request, and why. Nothing is sent to a target.
import { useEffect, useState } from 'preact/hooks';
import { get } from '../api.js';
import { ago, bytes, moment } from '../format.js';
import { link, replace } from '../router.js';
import { Button, Card, Failure, Pill, useShell } from '../ui.jsx';

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

// lines are the lines of a text that are not empty.
const lines = (text) => text.split('\n').map((l) => l.trim()).filter(Boolean);

// question is the query of the API for what the form says.
function question({ method, url, fields, from, answer }) {
  const q = new URLSearchParams({ method, url });
  if (from) q.set('from', from);
  lines(fields).forEach((l) => q.append('header', l));
  lines(answer).forEach((l) => q.append('answer', l));
  return q;
}

const Fact = ({ name, children }) => (
  <div>
    <dt>{name}</dt>
    <dd>{children}</dd>
  </div>
);

const Verdict = ({ e }) => (
  <Card id="verdict" title="Verdict">
    <dl class="because">
      <Fact name="Route">{e.route ? <a href={link('routes', [], { q: e.route })}>{e.route}</a> : 'none'}</Fact>
      {e.upstream && <Fact name="Upstream"><a href={link('upstreams', [], { q: e.upstream })}>{e.upstream}</a>, {e.balance}</Fact>}
      {e.target && <Fact name="Target"><code>{e.target}</code></Fact>}
      {e.response && <Fact name="Answer">{e.response.status}</Fact>}
      <Fact name="Cause">{e.cause}{e.error && ': ' + e.error}</Fact>
      <Fact name="Client">{e.client_address} by {e.listener}, {e.scheme}</Fact>
      {Object.entries(e.captures || {}).map(([name, value]) => <Fact key={name} name={'{' + name + '}'}><code>{value}</code></Fact>)}
      {e.cache && <Fact name="Cache key"><code>{e.cache.key}</code></Fact>}
      {e.cache && <Fact name="Cache">{e.cache.verdict}{e.cache.next && '; the next GET: ' + e.cache.next}{e.cache.because && ', ' + e.cache.because}</Fact>}
      {e.limits && <Fact name="Limits">body {e.limits.max_body ? bytes(e.limits.max_body) : 'of any size'}, connect {e.limits.connect}, first byte {e.limits.first_byte}, idle {e.limits.idle}, total {e.limits.total === '0s' ? 'without bound' : e.limits.total}, {e.limits.attempts} attempts</Fact>}
    </dl>
  </Card>
);

const Candidates = ({ list }) => (
  <Card id="candidates" title="Routes" flush>
    <table class="rows">
      <thead><tr><th>Route</th><th>Verdict</th></tr></thead>
      <tbody>
        {list.map((r) => (
          <tr key={r.route}>
            <td class="head"><b>{r.route}</b></td>
            <td class="main wrap">
              {r.taken ? <Pill tone="ok">taken</Pill> : r.misfit ? <><Pill tone="warn">{r.misfit}</Pill> wants <code>{r.wants}</code></> : <Pill tone="">fits, another comes first</Pill>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  </Card>
);

const Targets = ({ list, pick }) => (
  <Card id="targets" title="Targets" flush>
    <table class="rows">
      <thead><tr><th>Target</th><th>State</th><th>Weight</th><th>From</th></tr></thead>
      <tbody>
        {list.map((t) => (
          <tr key={t.url}>
            <td class="head wrap"><code>{t.url}</code> {t.url === pick && <Pill tone="accent">picked</Pill>}</td>
            <td data-label="state" class="wrap">{t.state || 'active'}{t.reason && ': ' + t.reason}</td>
            <td data-label="weight">{t.weight}</td>
            <td data-label="from" class="wrap">{t.source || 'the configuration'}{t.seen && <small title={moment(t.seen)}> seen {ago(new Date(t.seen))}</small>}{t.kept && <small> {t.kept}</small>}</td>
          </tr>
        ))}
      </tbody>
    </table>
  </Card>
);

const Head = ({ id, title, line, list, added = [], removed = [] }) => (
  <Card id={id} title={title}>
    <pre class="toml" tabIndex={0}>
      {line + '\n'}
      {list.map((f, i) => <span key={i} class={added.includes(f) ? 'line new' : ''}>{f + '\n'}</span>)}
      {removed.map((f, i) => <span key={'r' + i} class="line gone">{f + '\n'}</span>)}
    </pre>
  </Card>
);

const Answer = ({ e }) => (
  <>
    <div class="pair">
      <Verdict e={e} />
      <Candidates list={e.routes || []} />
    </div>
    {e.targets && <Targets list={e.targets} pick={e.target} />}
    <div class="pair">
      {e.request && <Head id="sent" title="What the target gets" line={e.request.line} list={e.request.fields || []} added={e.request.added} removed={e.request.removed} />}
      {e.response && <Head id="got" title="What the client gets" line={'HTTP/1.1 ' + e.response.status} list={e.response.fields || []} />}
    </div>
  </>
);

export function Explain({ route }) {
  const { method = 'GET', url = '' } = route.query;
  const [form, setForm] = useState({ method, url, fields: '', from: '', answer: '' });
  const [asked, setAsked] = useState(url ? form : null);
  const [state, setState] = useState({});
  const { status } = useShell();
  useEffect(() => {
    if (!asked) return;
    const request = new AbortController();
    get('/explain?' + question(asked), { signal: request.signal })
      .then((data) => setState({ data }), (error) => error.name !== 'AbortError' && setState({ error }));
    return () => request.abort();
  }, [asked, status?.loaded]);
  const change = (name) => (e) => setForm({ ...form, [name]: e.currentTarget.value });
  const ask = (e) => {
    e.preventDefault();
    setAsked({ ...form });
    replace('explain', [], { method: form.method, url: form.url }); // fields may be secrets
  };
  return (
    <>
      <header class="top"><h1>Explain</h1><span class="hint">What weir would do with a request now. Nothing is sent.</span></header>
      <form class="card question" onSubmit={ask} aria-label="The request">
        <label class="field">Method<input list="methods" value={form.method} onInput={change('method')} required spellcheck={false} autocapitalize="characters" /></label>
        <datalist id="methods">{methods.map((m) => <option key={m} value={m} />)}</datalist>
        <label class="field long">URL<input value={form.url} onInput={change('url')} required placeholder="http://users.com/api/x" inputMode="url" data-search spellcheck={false} autocapitalize="off" /></label>
        <label class="field">From address<input value={form.from} onInput={change('from')} placeholder="127.0.0.1" spellcheck={false} /></label>
        <label class="field wide">Fields, one a line<textarea rows="2" value={form.fields} onInput={change('fields')} placeholder="Accept: text/html" spellcheck={false} /></label>
        <label class="field wide">Fields of the target's answer, to see what the cache does<textarea rows="2" value={form.answer} onInput={change('answer')} placeholder="Cache-Control: max-age=60" spellcheck={false} /></label>
        <Button kind="primary" type="submit">Explain</Button>
      </form>
      {state.error && <Failure error={state.error} />}
      {state.data && <Answer e={state.data} />}
    </>
  );
}
