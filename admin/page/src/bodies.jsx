// Bodies of messages as people can read them. What was captured is only ever text in the page: it is
// put there as text nodes, which no browser runs.
import { useMemo, useState } from 'preact/hooks';
import { at } from './api.js';
import { bytes, whole } from './format.js';
import { Button, Choice } from './ui.jsx';

const shownLines = 1500;
const shownBytes = 4096;

// tokens are those of JSON, with what is between them; what is no token is a letter of its own.
const tokens = /"(?:[^"\\]|\\.)*"?|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]|\s+|[^]/g;

// prettyJSON lays JSON out without reading it: numbers keep their digits, and the beginning of a cut body
// works, too. It returns lines, lists of [kind, text].
export function prettyJSON(text) {
  const lines = [[]];
  let depth = 0;
  const put = (kind, s) => lines.at(-1).push([kind, s]);
  const newline = () => lines.push([['', '  '.repeat(depth)]]);
  let last = '';
  for (const [t] of text.matchAll(tokens)) {
    if (/^\s/.test(t)) continue;
    if ((last === '{' || last === '[') && t !== '}' && t !== ']') newline();
    if (t === '{' || t === '[') {
      put('', t);
      depth++;
    } else if (t === '}' || t === ']') {
      depth = Math.max(0, depth - 1);
      if (last !== '{' && last !== '[') newline();
      put('', t);
    } else if (t === ',') {
      put('', t);
      newline();
    } else if (t === ':') {
      const line = lines.at(-1);
      if (line.at(-1)?.[0] === 'string') line.at(-1)[0] = 'key';
      put('', ': ');
    } else put(t[0] === '"' ? 'string' : /^[-\d]/.test(t) ? 'number' : 'word', t);
    last = t;
  }
  return lines;
}

export const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

const encoder = new TextEncoder();

export const bytesOf = (body) => (body.base64 ? fromBase64(body.base64) : encoder.encode(body.text || ''));

function hexLines(data) {
  const lines = [];
  for (let i = 0; i < data.length; i += 16) {
    const part = [...data.subarray(i, i + 16)];
    const hex = part.map((b) => b.toString(16).padStart(2, '0')).join(' ');
    lines.push(i.toString(16).padStart(8, '0') + '  ' + hex.padEnd(48) + ' ' + part.map((b) => (b > 31 && b < 127 ? String.fromCharCode(b) : '.')).join(''));
  }
  return lines;
}

const looksLikeJSON = (body) => body.text !== undefined && (/[/+]json\b/i.test(body.type) || /^\s*[{[]/.test(body.text));

const looksLikeForm = (body) => body.text !== undefined && /x-www-form-urlencoded/i.test(body.type);

const decoded = (s) => {
  try {
    return decodeURIComponent(s.replaceAll('+', ' '));
  } catch {
    return s;
  }
};

// modes are the ways to look at a body, the best first.
function modes(body) {
  const list = [];
  if (body.image) list.push(['image', 'Image']);
  if (looksLikeJSON(body)) list.push(['json', 'JSON']);
  if (looksLikeForm(body)) list.push(['form', 'Form']);
  if (body.text !== undefined) list.push(['text', 'Text']);
  return [...list, ['hex', 'Hex']];
}

// linesOf are the lines of a body in a mode, as lists of [kind, text].
export function linesOf(body, mode) {
  if (mode === 'json') return prettyJSON(body.text);
  if (mode === 'form') return body.text.split('&').map((pair) => { const [k, v = ''] = pair.split('='); return [['key', decoded(k)], ['', ' = '], ['string', decoded(v)]]; });
  if (mode === 'text') return (body.text || '').split('\n').map((l) => [['', l]]);
  return hexLines(bytesOf(body)).map((l) => [['', l]]);
}

export const bestLines = (body) => (body?.text || body?.base64 ? linesOf(body, modes(body).find(([m]) => m !== 'image')[0]) : []);

export const Lines = ({ lines, mark }) => lines.map((line, i) => (
  <span key={i} class={'line ' + (mark?.[i] || '')}>{line.map(([kind, text], k) => (kind ? <span key={k} class={'j-' + kind}>{text}</span> : text))}{'\n'}</span>
));

const size = (body) => [
  bytes(body.size) + (body.coding ? ' ' + body.coding : ''),
  body.truncated && 'the first ' + bytes(body.kept) + ' are kept',
  body.coding && !body.decoded && 'could not be decoded',
  body.masked && 'secrets are masked',
].filter(Boolean).join(', ');

export function Body({ body, alt }) {
  const all = modes(body);
  const [chosen, choose] = useState(null);
  const [whole_, setWhole] = useState(false);
  const mode = all.some(([m]) => m === chosen) ? chosen : all[0][0];
  const lines = useMemo(() => (mode === 'image' ? [] : linesOf(mode === 'hex' && !whole_ ? { base64: btoa(String.fromCharCode(...bytesOf(body).subarray(0, shownBytes))) } : body, mode)), [body, mode, whole_]);
  const total = mode === 'hex' ? Math.ceil(bytesOf(body).length / 16) : lines.length;
  const shown = whole_ ? lines : lines.slice(0, shownLines);
  return (
    <div class="body">
      <div class="bodyhead">
        <span class="hint">{body.type || 'no type'}, {size(body)}</span>
        <span class="facts">
          {all.length > 1 && <Choice label="How the body is shown" value={mode} options={all} onChange={choose} />}
          {body.url && <a class="button small" href={at(body.url)} download>Save</a>}
        </span>
      </div>
      {mode === 'image' ? <img src={at(body.url)} alt={alt} /> : <pre class={mode} tabIndex={0}><Lines lines={shown} /></pre>}
      {shown.length < total && <Button kind="small" onClick={() => setWhole(true)}>Show all {whole(total)} lines</Button>}
    </div>
  );
}
