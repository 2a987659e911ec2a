// One exchange in detail.
import { useEffect, useLayoutEffect, useState } from 'preact/hooks';
import { at, get } from '../api.js';
import { Body } from '../bodies.jsx';
import { curl } from '../curl.js';
import { bytes, duration, moment, plural } from '../format.js';
import { link } from '../router.js';
import { Button, Choice, Failure, Icon, Pill, Segments, copy, statusTone, useShell } from '../ui.jsx';
import { Replay } from './replay.jsx';

const parts = [
  ['wait', 'before the attempt', 'muted'],
  ['connect', 'connecting', 'violet'],
  ['send', 'sending the request', 'warn'],
  ['first_byte', 'waiting for the answer', 'accent'],
  ['body', 'the answer to its end', 'ok'],
];

// Timing is where the time went, as parts of one bar.
function Timing({ t }) {
  const list = parts.filter(([key]) => t[key] > 0);
  if (!list.length) return null;
  return (
    <div class="timing">
      <Segments list={list.map(([key, text, tone]) => ({ value: t[key], text, tone }))} />
      <ul>
        {list.map(([key, text, tone]) => <li key={key}><i class={'dot ' + tone} /> {text} <b>{duration(t[key])}</b></li>)}
      </ul>
    </div>
  );
}

const Tries = ({ tries }) => (
  <table class="rows">
    <thead><tr><th>Attempt</th><th>Target</th><th class="n">Began</th><th class="n">Connected</th><th class="n">Answered</th><th class="n">Took</th></tr></thead>
    <tbody>
      {tries.map((t, i) => (
        <tr key={i}>
          <td class="head"><Pill tone={t.cause === 'ok' ? 'ok' : 'bad'}>{t.status || t.cause}</Pill></td>
          <td class="mono wrap main">{t.target}{t.error && <small class="reason">{t.error}</small>}</td>
          <td class="n" data-label="began">{duration(t.start)}</td>
          <td class="n" data-label="connected">{t.reused ? 'reused' : duration(t.connect)}</td>
          <td class="n" data-label="answered">{t.first_byte ? duration(t.first_byte) : '–'}</td>
          <td class="n" data-label="took">{duration(t.duration)}</td>
        </tr>
      ))}
    </tbody>
  </table>
);

// inLog finds the exchange in an access log of JSON.
const inLog = (x) => 'jq -c \'select(.trace_id == "' + x.trace_id + '")\' access.log';

const Fact = ({ name, children }) => (children ? <div><dt>{name}</dt><dd>{children}</dd></div> : null);

const line = ([name, value]) => name.toLowerCase() + ': ' + value;

// Message shows a head, with what is new in comparison to another one, and a body.
export function Message({ m, before, alt }) {
  const known = before && new Set(before.fields.map(line));
  const mine = new Set(m.fields.map(line));
  const gone = before ? before.fields.filter((f) => !mine.has(line(f))) : [];
  return (
    <>
      <pre class="head" tabIndex={0}>
        <span class="first">{m.line + '\n'}</span>
        {m.fields.map(([name, value], i) => (
          <span key={i} class={'line' + (known && !known.has(line([name, value])) ? ' new' : '')}><span class="j-key">{name}</span>{': '}<span class={value === '(hidden)' ? 'hint' : ''}>{value}</span>{'\n'}</span>
        ))}
        {gone.map(([name, value], i) => <span key={'g' + i} class="line gone">{name + ': ' + value + '\n'}</span>)}
      </pre>
      {m.body && (m.body.size > 0 || m.body.kept > 0) && <Body body={m.body} alt={alt} />}
    </>
  );
}

const tabs = [['request', 'Request'], ['forwarded', 'To the target'], ['received', 'From the target'], ['response', 'Response']];

function Messages({ x }) {
  const there = tabs.filter(([key]) => x[key]);
  const [tab, setTab] = useState('response');
  const shown = x[tab] ? tab : there[0]?.[0];
  if (!shown) return <p class="hint pad">No heads are kept.</p>;
  const before = { forwarded: x.request, response: x.received }[shown];
  return (
    <section aria-label="Messages">
      <Choice label="Which message" value={shown} options={there} onChange={setTab} />
      {before && <p class="hint">What differs from what {shown === 'forwarded' ? 'the client sent' : 'the target answered'} is marked.</p>}
      <Message key={x.id + shown} m={x[shown]} before={before} alt={'The body of ' + x.target} />
    </section>
  );
}

const Because = ({ why }) => {
  const list = [['Why this route', why.route], ['Why this target', why.target], ['Why this answer', why.cache]].filter(([, text]) => text);
  if (!list.length) return null;
  return <dl class="because">{list.map(([name, text]) => <div key={name}><dt>{name}</dt><dd>{text}</dd></div>)}</dl>;
};

function Content({ x, narrow, close }) {
  const { toast, canWrite } = useShell();
  const [replaying, replay] = useState(null);
  const url = x.scheme + '://' + x.host + x.target;
  useLayoutEffect(() => { // keys are for the exchange that is seen
    const pressed = (e) => {
      if (e.target.closest?.('input, textarea, select, dialog') || e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
      if (e.key === 'c') copy(curl(x), toast);
      if (e.key === 'r' && canWrite) replay('now');
      if (e.key === 'e' && canWrite) replay('edit');
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, [x, canWrite]);
  return (
    <>
      <header>
        <h2><span class="mono">{x.method}</span> <Pill tone={statusTone(x)}>{x.status || x.cause}</Pill> <span class="mono wrap">{url}</span></h2>
        <Button kind="quiet" icon="close" label="Close" onClick={close} />
      </header>
      <div class="tools">
        <Button icon="copy" onClick={() => copy(curl(x), toast)}>Copy as curl</Button>
        {canWrite && <Button icon="replay" onClick={() => replay('now')}>Replay</Button>}
        {canWrite && <Button onClick={() => replay('edit')}>Edit and replay</Button>}
        <a class="button" href={at('/inspect/har?ids=' + x.id)} download={'weir-' + x.id + '.har'}><Icon name="down" /> HAR</a>
      </div>
      {x.error && <p class="failure" role="note">{x.cause}: {x.error}</p>}
      <Timing t={x.timing} />
      <dl class="about">
        <Fact name="At">{moment(x.time)}</Fact>
        <Fact name="Took">{duration(x.duration)}</Fact>
        <Fact name="Route">{x.route && <a href={link('routes', [], { q: x.route })}>{x.route}</a>}</Fact>
        <Fact name="Upstream">{x.upstream && <a href={link('upstreams', [], { q: x.upstream })}>{x.upstream}</a>}</Fact>
        <Fact name="Target"><span class="mono">{x.target_url}</span></Fact>
        <Fact name="Cache">{x.cache}</Fact>
        <Fact name="Cause">{x.cause !== 'ok' && x.cause}</Fact>
        <Fact name="Client">{x.client && <Button kind="link" onClick={() => narrow('client=' + x.client)}>{x.client}</Button>}</Fact>
        <Fact name="User">{x.user}</Fact>
        <Fact name="Protocol">{x.version}</Fact>
        <Fact name="Listener">{x.listener}</Fact>
        <Fact name="Bodies">{bytes(x.bytes_in)} in, {bytes(x.bytes_out)} out</Fact>
        <Fact name="Request id">{x.request_id && <Button kind="link" onClick={() => narrow('request_id=' + x.request_id)}><span class="mono">{x.request_id}</span></Button>}</Fact>
        <Fact name="Trace">{x.trace_id && <span title="trace_id in the access log"><Button kind="link" onClick={() => narrow('trace_id=' + x.trace_id)}><span class="mono">{x.trace_id}</span></Button> <Button kind="quiet" icon="copy" label="Copy the line of jq that finds it in the access log" onClick={() => copy(inLog(x), toast)} /></span>}</Fact>
        <Fact name="Replay of">{x.replay_of && <a href={link('exchanges', [x.replay_of])}>{x.replay_of}</a>}</Fact>
      </dl>
      <Because why={x.why} />
      {(x.tries?.length > 1 || x.tries?.some((t) => t.error)) && <Tries tries={x.tries} />}
      {!x.complete && <p class="hint">It was not sampled, and is kept because it failed or was slow: bodies and attempts are not there.</p>}
      {x.notes?.length > 0 && <ul class="hint">{x.notes.map((n) => <li key={n}>{n}</li>)}</ul>}
      <Messages x={x} />
      {x.masked?.length > 0 && <p class="hint">{plural(x.masked.length, 'secret')} masked before storing: {x.masked.join(', ')}</p>}
      {replaying && <Replay x={x} at_once={replaying === 'now'} onClose={() => replay(null)} />}
    </>
  );
}

export function Detail({ id, close, narrow }) {
  const [state, setState] = useState({});
  useEffect(() => {
    let ended = false;
    get('/inspect/exchanges/' + encodeURIComponent(id)).then((x) => !ended && setState({ x }), (error) => !ended && setState({ error }));
    return () => {
      ended = true;
    };
  }, [id]);
  return (
    <article class="card detail" aria-label="Exchange">
      {state.error && <><Failure error={state.error} /><Button onClick={close}>Close</Button></>}
      {state.x ? <Content x={state.x} narrow={narrow} close={close} /> : !state.error && <div class="loading" role="status">Loading …</div>}
    </article>
  );
}
