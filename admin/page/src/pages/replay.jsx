// Sending a recorded request again, as it was or changed, and comparing the two answers.
import { useEffect, useMemo, useState } from 'preact/hooks';
import { post, usePoll } from '../api.js';
import { bestLines, Lines } from '../bodies.jsx';
import { hidden } from '../curl.js';
import { diff } from '../diff.js';
import { bytes, duration } from '../format.js';
import { go } from '../router.js';
import { Button, Dialog, Failure, Pill, statusTone } from '../ui.jsx';

const textOf = (fields) => fields.map(([n, v]) => n + ': ' + v).join('\n');

const fieldsOf = (text) => text.split('\n').filter((l) => l.trim()).map((l) => {
  const i = l.indexOf(':');
  return i < 0 ? [l.trim(), ''] : [l.slice(0, i).trim(), l.slice(i + 1).trim()];
});

const own = new Set(['host', 'content-length', 'connection', 'transfer-encoding']);

// draft is what the form begins with.
const draft = (x) => ({
  method: x.method, url: x.scheme + '://' + x.host + x.target, upstream: '', server: '', other: '', text: x.request?.body?.text ?? '',
  fields: textOf((x.request?.fields || []).filter(([n]) => !own.has(n.toLowerCase()))),
});

// changed is what of the form differs from what was recorded, as the API takes it.
function changed(x, d, first) {
  const request = {};
  if (d.method !== first.method) request.method = d.method;
  if (d.url !== first.url) {
    const m = d.url.match(/^(https?):\/\/([^/?#]+)(.*)$/i);
    if (!m) throw new Error('URL: found "' + d.url + '": want http:// or https://, a host and a path');
    Object.assign(request, { scheme: m[1].toLowerCase(), host: m[2], target: m[3] || '/' });
  }
  if (d.fields !== first.fields) request.fields = fieldsOf(d.fields).filter(([, v]) => v !== hidden);
  if (d.text !== first.text) request.text = d.text;
  const body = { id: x.id };
  if (Object.keys(request).length) body.request = request;
  for (const [key, value] of [['upstream', d.upstream], ['server', d.server], ['url', d.other]]) if (value) body[key] = value;
  return body;
}

function Where({ d, set }) {
  const upstreams = usePoll('/upstreams').data?.upstreams || [];
  const targets = upstreams.find((u) => u.name === d.upstream)?.targets || [];
  return (
    <fieldset class="where">
      <legend>Where to</legend>
      <label>Upstream
        <select value={d.upstream} onChange={(e) => set({ upstream: e.currentTarget.value, server: '', other: '' })}>
          <option value="">as the route says</option>
          {upstreams.map((u) => <option key={u.name} value={u.name}>{u.name}</option>)}
        </select>
      </label>
      {d.upstream && (
        <label>Target
          <select value={d.server} onChange={(e) => set({ server: e.currentTarget.value })}>
            <option value="">any</option>
            {targets.map((t) => <option key={t.name} value={t.name}>{t.name}</option>)}
          </select>
        </label>
      )}
      {!d.upstream && <label>or another address <input value={d.other} placeholder="http://localhost:5000" spellcheck={false} onInput={(e) => set({ other: e.currentTarget.value })} /></label>}
    </fieldset>
  );
}

function Form({ x, d, set, submit, busy }) {
  const body = x.request?.body;
  return (
    <form class="replay" onSubmit={(e) => { e.preventDefault(); submit(); }}>
      <div class="inline">
        <input class="method" aria-label="Method" value={d.method} required spellcheck={false} onInput={(e) => set({ method: e.currentTarget.value })} />
        <input aria-label="URL" value={d.url} required spellcheck={false} onInput={(e) => set({ url: e.currentTarget.value })} />
      </div>
      <label class="field">Fields
        <textarea rows={7} spellcheck={false} value={d.fields} onInput={(e) => set({ fields: e.currentTarget.value })} />
      </label>
      {d.fields.includes(hidden) && <p class="hint">Values that are {hidden} were masked before they were stored, and are left out. Write them here to send them.</p>}
      <label class="field">Body
        <textarea rows={7} spellcheck={false} value={d.text} placeholder={body?.base64 ? 'binary, ' + bytes(body.size) + ': sent as it was unless there is text here' : 'none'} onInput={(e) => set({ text: e.currentTarget.value })} />
      </label>
      {(body?.masked || body?.truncated) && <p class="hint">The body was {body.truncated ? 'not kept whole' : 'masked'}: it has to be written here to be sent.</p>}
      <Where d={d} set={set} />
      <footer><button class="button primary" type="submit" disabled={busy}>{busy ? 'Sending …' : 'Send'}</button></footer>
    </form>
  );
}

function Answer({ title, x, head, body, lines }) {
  const m = x.response;
  return (
    <section class="answer" aria-label={title}>
      <h3>{title} <Pill tone={statusTone(x)}>{x.status || x.cause}</Pill> <small>{duration(x.duration)}, {bytes(x.bytes_out)}{x.target_url && ', ' + x.target_url}</small></h3>
      {x.error && <p class="failure">{x.error}</p>}
      <pre tabIndex={0}>{(m?.fields || []).map(([n, v], i) => <span key={i} class={'line ' + head[i]}><span class="j-key">{n}</span>{': ' + v + '\n'}</span>)}</pre>
      {lines.length > 0 && <pre tabIndex={0}><Lines lines={lines} mark={body} /></pre>}
    </section>
  );
}

// Compare shows both answers, and marks what only one of them has.
function Compare({ result }) {
  const { original: a, replayed: b } = result;
  const both = useMemo(() => {
    const head = (x) => (x?.response?.fields || []).map(([n, v]) => n.toLowerCase() + ': ' + v);
    const left = bestLines(a?.response?.body);
    const right = bestLines(b.response?.body);
    const plain = (lines) => lines.map((l) => l.map(([, s]) => s).join(''));
    return { left, right, heads: diff(head(a), head(b)), bodies: diff(plain(left), plain(right)) };
  }, [result]);
  const same = a && a.status === b.status && both.bodies.every((list) => list.every((m) => !m));
  return (
    <>
      {a && <p class="hint" role="status">{same ? 'Status and body are the same.' : 'What only one of the answers has is marked.'}{result.left_out?.length > 0 && ' Left out of the request: ' + result.left_out.join(', ') + '.'}{result.notes?.map((n) => ' ' + n + '.')}</p>}
      <div class="sides">
        {a && <Answer title="Then" x={a} head={both.heads[0]} body={both.bodies[0]} lines={both.left} />}
        <Answer title="Now" x={b} head={both.heads[1]} body={both.bodies[1]} lines={both.right} />
      </div>
    </>
  );
}

export function Replay({ x, at_once, onClose }) {
  const first = useMemo(() => draft(x), [x]);
  const [d, setDraft] = useState(first);
  const [editing, edit] = useState(!at_once);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const [result, setResult] = useState(null);
  const submit = async () => {
    setBusy(true);
    setError(null);
    try {
      setResult(await post('/inspect/replay', changed(x, d, first)));
      edit(false);
    } catch (e) {
      setError(e);
      edit(true);
    }
    setBusy(false);
  };
  useEffect(() => {
    if (at_once) submit();
  }, []);
  return (
    <Dialog wide title={(editing ? 'Replay ' : 'Replayed: ') + x.method + ' ' + x.target} onClose={onClose}>
      {error && <Failure error={error} />}
      {editing ? <Form x={x} d={d} set={(part) => setDraft({ ...d, ...part })} submit={submit} busy={busy} /> : !result && !error && <div class="loading" role="status">Sending …</div>}
      {result && !editing && (
        <>
          <Compare result={result} />
          <footer>
            <Button onClick={() => edit(true)}>Edit and send again</Button>
            <Button onClick={() => { onClose(); go('exchanges', [result.replayed.id]); }}>Open the new one</Button>
            <Button kind="primary" icon="replay" onClick={submit} disabled={busy}>Send again</Button>
          </footer>
        </>
      )}
    </Dialog>
  );
}
