// What all pages are made of.
import { createContext } from 'preact';
import { useContext, useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { duration } from './format.js';

// Shell is what the frame lends to the pages: { toast(text, bad), canWrite, status }.
export const Shell = createContext({ toast() {}, canWrite: false, status: null });
export const useShell = () => useContext(Shell);

const paths = {
  overview: 'M3 13l4-5 3 3 4-6 3 4M3 17h14',
  exchanges: 'M3 6h11m-3-3l3 3-3 3M17 14H6m3-3l-3 3 3 3',
  routes: 'M4 4v6a3 3 0 003 3h9m-3-3l3 3-3 3M4 10V4m0 0h0',
  upstreams: 'M4 4h12v5H4zM4 11h12v5H4zM7 6.500h.01M7 13.500h.01',
  cache: 'M10 3c4 0 6.500 1 6.500 2.500S14 8 10 8 3.500 7 3.500 5.500 6 3 10 3zM3.500 5.500v9C3.500 16 6 17 10 17s6.500-1 6.500-2.500v-9M3.500 10c0 1.500 2.500 2.500 6.500 2.500s6.500-1 6.500-2.500',
  statistics: 'M4 17V9m4 8V4m4 13v-6m4 6V7',
  config: 'M4 6h7m4 0h1M4 14h1m4 0h7M13 4v4M7 12v4',
  explain: 'M7 7a3 3 0 116 0c0 2-3 2-3 5m0 3h.01M3 3h14v14H3z',
  discovery: 'M10 7a3 3 0 100 6 3 3 0 000-6zM10 2v5M10 13v5M2 10h5M13 10h5',
  close: 'M5 5l10 10M15 5L5 15',
  search: 'M9 4a5 5 0 100 10A5 5 0 009 4zm4 9l4 4',
  pause: 'M7 4v12M13 4v12',
  play: 'M6 4l10 6-10 6z',
  copy: 'M7 7h9v9H7zM13 7V4H4v9h3',
  replay: 'M4 10a6 6 0 106-6H6m3-3L6 4l3 3',
  theme: 'M10 3a7 7 0 100 14zM10 3a7 7 0 010 14',
  help: 'M7 7a3 3 0 116 0c0 2-3 2-3 5m0 3h.01',
  up: 'M5 12l5-5 5 5',
  back: 'M12 4l-6 6 6 6',
  down: 'M10 3v10m-4-4l4 4 4-4M4 17h12',
  trash: 'M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11',
};

export const Icon = ({ name }) => (
  <svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">
    <path d={paths[name]} />
  </svg>
);

export const Button = ({ icon, children, label, kind, ...rest }) => (
  <button type="button" class={'button ' + (kind || '')} aria-label={label} title={label} {...rest}>
    {icon && <Icon name={icon} />}
    {children}
  </button>
);

// Pill shows a state by a word and a colour; the word alone says it, too.
export const Pill = ({ tone, children, title }) => (
  <span class={'pill ' + tone} title={title}>
    {children}
  </span>
);

// statusTone is the tone of a recorded exchange's status.
export const statusTone = (x) => (x.status >= 500 || (!x.ok && x.status < 400) || !x.status ? 'bad' : x.status >= 400 ? 'warn' : x.status >= 300 ? 'accent' : 'ok');

export const Card = ({ title, aside, children, flush, id }) => (
  <section class={'card' + (flush ? ' flush' : '')} aria-labelledby={title && id} id={id && id + '-card'}>
    {title && (
      <header>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
    )}
    {children}
  </section>
);

export const Stat = ({ label, value, note, tone }) => (
  <div class={'stat ' + (tone || '')}>
    <dt>{label}</dt>
    <dd>
      <b>{value}</b>
      {note && <small>{note}</small>}
    </dd>
  </div>
);

// Empty says why there is nothing, and what to do about it.
export const Empty = ({ title, children }) => (
  <div class="empty">
    <strong>{title}</strong>
    {children && <p>{children}</p>}
  </div>
);

export const Failure = ({ error, again }) => (
  <div class="failure" role="alert">
    <span>{error.message}</span>
    {again && <Button onClick={again}>Try again</Button>}
  </div>
);

// Loaded shows what children make of the data once it is there; until then that it comes, or
// what went wrong. An error after that stands above the last data.
export function Loaded({ of: { data, error, again }, children }) {
  return (
    <>
      {error && <Failure error={error} again={again} />}
      {data ? children(data) : !error && <div class="loading" role="status">Loading …</div>}
    </>
  );
}

export const Code = ({ children }) => <code class="code">{children}</code>;

// Dialog is modal; Escape and a click beside it close it.
export function Dialog({ title, onClose, children, wide }) {
  const ref = useRef();
  useLayoutEffect(() => {
    const d = ref.current;
    const before = document.activeElement;
    d.showModal();
    return () => {
      d.close();
      before?.focus?.();
    };
  }, []);
  return (
    <dialog ref={ref} class={wide ? 'wide' : ''} aria-label={title} onClose={onClose}
      onClick={(e) => e.target === ref.current && onClose()} onKeyDown={(e) => e.key === 'Escape' && onClose()}>
      <header>
        <h2>{title}</h2>
        <Button kind="quiet" icon="close" label="Close" onClick={onClose} />
      </header>
      {children}
    </dialog>
  );
}

// Confirm asks before something that cannot be undone.
export const Confirm = ({ title, action, onYes, onClose, children }) => (
  <Dialog title={title} onClose={onClose}>
    <p>{children}</p>
    <footer>
      <Button onClick={onClose}>Cancel</Button>
      <Button
        kind="danger"
        onClick={() => {
          onClose();
          onYes();
        }}
      >
        {action}
      </Button>
    </footer>
  </Dialog>
);

export const Search = ({ value, onInput, label, placeholder, invalid, list }) => (
  <label class={'search' + (invalid ? ' invalid' : '')}>
    <Icon name="search" />
    <input
      type="search" value={value} aria-label={label} placeholder={placeholder} list={list} spellcheck={false} autocomplete="off" autocapitalize="off"
      aria-invalid={!!invalid} data-search onInput={(e) => onInput(e.currentTarget.value)}
    />
    <kbd aria-hidden="true">/</kbd>
  </label>
);

export const Choice = ({ label, value, options, onChange }) => (
  <div class="choice" role="group" aria-label={label}>
    {options.map(([v, text]) => (
      <button type="button" key={v} aria-pressed={v === value} onClick={() => onChange(v)}>
        {text}
      </button>
    ))}
  </div>
);

// Bar shows a part of a whole.
export function Bar({ part, total, tone, label }) {
  const ref = useRef();
  const share = total > 0 ? Math.min(1, part / total) : 0;
  useEffect(() => {
    ref.current.style.width = 100 * share + '%';
  }, [share]);
  return (
    <span class="bar" role="img" aria-label={label}>
      <i ref={ref} class={tone} />
    </span>
  );
}

function Segment({ share, tone }) {
  const ref = useRef();
  useEffect(() => {
    ref.current.style.flexGrow = share;
  }, [share]);
  return <i ref={ref} class={tone} />;
}

// Segments is a bar of the times that follow each other: a list of { value, text, tone }.
export function Segments({ list }) {
  const total = list.reduce((s, p) => s + p.value, 0);
  const words = list.filter((p) => p.value > 0).map((p) => p.text + ' ' + duration(p.value)).join(', ');
  return (
    <span class="segments" role="img" aria-label={'Time: ' + words} title={words}>
      {list.filter((p) => p.value > 0).map((p) => <Segment key={p.text} share={(100 * p.value) / total} tone={p.tone} />)}
    </span>
  );
}

// useRates remembers the value of counters at the last draw and returns how fast each grows.
// counters is an object of numbers; at is when it was read, in ms.
export function useRates(counters, at) {
  const last = useRef({ counters: {}, at: 0, rates: {} });
  if (counters && at !== last.current.at) {
    const { counters: before, at: then } = last.current;
    const rates = {};
    for (const [key, n] of Object.entries(counters)) {
      if (before[key] !== undefined && at > then) rates[key] = Math.max(0, (1000 * (n - before[key])) / (at - then));
    }
    last.current = { counters, at, rates };
  }
  return last.current.rates;
}

export async function copy(text, toast) {
  try {
    await navigator.clipboard.writeText(text);
    toast('Copied');
  } catch {
    toast('The browser does not let this page copy: it needs https or localhost', true);
  }
}
