// What passes: a live list with filters, and one exchange in detail.
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { at, send } from '../api.js';
import { bytes, clock, duration, plural, short, whole } from '../format.js';
import { useLive } from '../live.js';
import { go, replace } from '../router.js';
import { Button, Choice, Confirm, Dialog, Empty, Failure, Icon, Pill, Search, statusTone, useShell } from '../ui.jsx';
import { Detail } from './exchange.jsx';

const cacheTone = { hit: 'ok', stale: 'warn', revalidate: 'accent', miss: 'violet' };

const narrow = matchMedia('(max-width: 760px)');

function Row({ x, top, height, chosen, open }) {
  const ref = useRef();
  useLayoutEffect(() => {
    ref.current.style.transform = 'translateY(' + top + 'px)';
    ref.current.style.height = height + 'px';
  }, [top, height]);
  return (
    <div ref={ref} id={'x-' + x.id} role="option" aria-selected={chosen} class={'x' + (chosen ? ' chosen' : '') + (x.ok ? '' : ' failed')} onClick={() => open(x.id)}>
      <span class="x-time">{clock(x.time, true)}</span>
      <span class="x-method">{x.method}</span>
      <span class="x-status"><Pill tone={statusTone(x)}>{x.status || x.cause}</Pill></span>
      <span class="x-target" title={x.host + x.target}><span class="x-host">{x.host}</span>{x.target}{x.replay_of && <em> replayed</em>}</span>
      <span class="x-route">{x.route || 'no route'}</span>
      <span class="x-cache">{x.cache && <Pill tone={cacheTone[x.cache] || ''}>{x.cache}</Pill>}</span>
      <span class="x-size">{bytes(x.bytes_out)}</span>
      <span class="x-duration">{duration(x.duration)}</span>
    </div>
  );
}

// List draws only the rows that are seen. News at the top move nothing that is being read.
function List({ list, chosen, open, more, next }) {
  const box = useRef();
  const fill = useRef();
  const [view, setView] = useState({ top: 0, height: 600 });
  const height = narrow.matches ? 54 : 30;
  const first = useRef(list[0]?.id);
  useLayoutEffect(() => {
    const grown = list.findIndex((x) => x.id === first.current);
    if (grown > 0 && box.current.scrollTop > 0) box.current.scrollTop += grown * height;
    first.current = list[0]?.id;
    fill.current.style.height = list.length * height + 'px';
  }, [list]);
  useEffect(() => {
    const measure = () => box.current && setView({ top: box.current.scrollTop, height: box.current.clientHeight });
    const resize = new ResizeObserver(measure);
    resize.observe(box.current);
    measure();
    return () => resize.disconnect();
  }, []);
  const index = list.findIndex((x) => x.id === chosen);
  const step = (by) => {
    if (!list.length) return;
    const i = Math.max(0, Math.min(list.length - 1, index < 0 ? 0 : index + by));
    const top = i * height;
    if (top < box.current.scrollTop) box.current.scrollTop = top;
    else if (top + height > box.current.scrollTop + box.current.clientHeight) box.current.scrollTop = top + height - box.current.clientHeight;
    open(list[i].id);
  };
  useLayoutEffect(() => {
    const stepped = (e) => step(e.detail);
    const element = box.current;
    element.addEventListener('step', stepped);
    return () => element.removeEventListener('step', stepped);
  });
  const pressed = (e) => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[e.key];
    if (by === undefined) return;
    e.preventDefault();
    step(by);
  };
  const from = Math.max(0, Math.floor(view.top / height) - 8);
  const shown = list.slice(from, from + Math.ceil(view.height / height) + 16);
  return (
    <div ref={box} class="list" data-list role="listbox" tabIndex={0} aria-label={plural(list.length, 'exchange') + ', the newest first'} aria-activedescendant={index >= 0 ? 'x-' + chosen : undefined}
      onScroll={() => setView({ top: box.current.scrollTop, height: box.current.clientHeight })} onKeyDown={pressed}>
      <div ref={fill} class="fill">
        {shown.map((x, i) => <Row key={x.id} x={x} top={(from + i) * height} height={height} chosen={x.id === chosen} open={open} />)}
      </div>
      {next && <p class="pad"><Button kind="small" onClick={more}>Older ones</Button></p>}
    </div>
  );
}

const examples = [
  ['status=5xx', 'answers of a class, or =404'],
  ['ok=false', 'whatever went wrong'],
  ['duration>250ms', 'slower than that; also out>10KiB, in>1MiB, attempts>1'],
  ['route=api method=POST|PUT', 'all terms must fit; | is or, * is any text'],
  ['path~checkout', 'contains; != and !~ are the opposites'],
  ['request.user-agent~curl', 'a field of the request, or response.NAME'],
  ['body~"card declined"', 'in either body'],
  ['checkout', 'a word in method, host, target or status'],
];

const FilterHelp = ({ onClose, use }) => (
  <Dialog title="Filters" onClose={onClose}>
    <ul class="examples">
      {examples.map(([f, what]) => <li key={f}><Button kind="link" onClick={() => { use(f); onClose(); }}><code>{f}</code></Button><span class="hint">{what}</span></li>)}
    </ul>
    <p class="hint">Keys: method, host, path, target, scheme, listener, client, user, route, upstream, server, status, cause, error, cache, type, id, request_id, trace_id, kind, version, attempts, duration, in, out, ok.</p>
  </Dialog>
);

function Import({ done, toast }) {
  const input = useRef();
  const read = async () => {
    const file = input.current.files[0];
    if (!file) return;
    try {
      const r = await (await send('POST', '/inspect/har', await file.text(), { raw: true })).json();
      toast(plural(r.imported, 'exchange') + ' imported' + (r.skipped ? ', ' + r.skipped + ' did not fit' : ''));
      done();
    } catch (e) {
      toast(e.message, true);
    }
    input.current.value = '';
  };
  return (
    <>
      <input ref={input} type="file" accept=".har,application/json" hidden aria-label="HAR file" onChange={read} />
      <Button onClick={() => input.current.click()}>Import HAR</Button>
    </>
  );
}

const Off = () => (
  <div class="empty">
    <strong>Nothing is recorded</strong>
    <p>weir keeps the last exchanges, secrets masked, once the configuration says so. For all routes:</p>
    <pre class="toml">{'[inspect]\nsample = 1 # all; 0.01 is one in a hundred'}</pre>
    <p>A single route takes <code>inspect = true</code>.</p>
  </div>
);

function Nothing({ state, filter, ring }) {
  if (filter || ring !== 'all') return <Empty title="Nothing fits">No recorded exchange fits the filter. New ones that do appear here.</Empty>;
  return <Empty title="Nothing has passed yet">{state?.enabled ? 'Exchanges appear here as they pass.' : ''}</Empty>;
}

const rings = [['all', 'All'], ['failed', 'Failed'], ['slow', 'Slow'], ['imported', 'Imported']];

const Facts = ({ state, rate, list }) => (
  <span class="hint live" role="status">
    {rate && <><i class="dot ok" /> {short(rate.passed)}/s{rate.dropped > 0 && ', a part is listed'} · </>}
    {whole(list.length)} listed{state?.enabled && ' · ' + bytes(state.used) + ' of ' + bytes(state.budget)}
    {state?.skipped > 0 && ' · ' + short(state.skipped) + ' failed ones skipped'}
  </span>
);

export function Exchanges({ route }) {
  const { filter = '', ring = 'all' } = route.query;
  const id = route.rest[0];
  const { toast, canWrite } = useShell();
  const [typed, setTyped] = useState(filter);
  const applied = useRef(filter);
  const [paused, setPaused] = useState(false);
  const [dialog, setDialog] = useState(null);
  const live = useLive(filter, ring, paused);
  const query = { filter, ring: ring === 'all' ? '' : ring };
  useEffect(() => {
    if (typed === filter) return;
    const timer = setTimeout(() => {
      applied.current = typed;
      replace('exchanges', route.rest, { ...query, filter: typed });
    }, 300);
    return () => clearTimeout(timer);
  }, [typed]);
  // A filter that comes from elsewhere is shown; one that was typed must not undo what was typed since.
  useEffect(() => {
    if (filter !== applied.current) setTyped((applied.current = filter));
  }, [filter]);
  useLayoutEffect(() => {
    const pressed = (e) => {
      if (e.target.closest?.('input, textarea, select, dialog') || e.ctrlKey || e.metaKey || e.altKey) return;
      if (e.key === 'p') setPaused((p) => !p);
      if (e.key === 'Escape' && id) go('exchanges', [], query);
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, [id, filter, ring]);
  const open = (id) => replace('exchanges', [id], query);
  const clear = () => send('DELETE', '/inspect/exchanges').then((r) => r.json()).then((d) => { toast(plural(d.removed, 'exchange') + ' forgotten'); go('exchanges', [], query); live.again(); }, (e) => toast(e.message, true));
  const wrong = live.error?.status === 400;
  const off = live.state && !live.state.enabled && !live.state.imported;
  const har = at('/inspect/har?' + new URLSearchParams({ ...(filter && { filter }), ...(ring !== 'all' && { ring }) }));
  return (
    <>
      <header class="top">
        <h1>Exchanges</h1>
        <Search value={typed} label="Filter exchanges" placeholder="status=5xx  route=api  duration>250ms  words" onInput={setTyped} invalid={wrong} />
        <Button kind="quiet" icon="help" label="What filters there are" onClick={() => setDialog('filters')} />
        <Choice label="Which exchanges" value={ring} options={rings} onChange={(r) => replace('exchanges', route.rest, { filter, ring: r === 'all' ? '' : r })} />
        <span class="facts">
          <Button icon={paused ? 'play' : 'pause'} aria-pressed={paused} onClick={() => setPaused(!paused)}>{paused ? (live.waiting ? whole(live.waiting) + ' new' : 'Go on') : 'Hold'}</Button>
          {!off && <a class="button" href={har} download="weir.har"><Icon name="down" /> HAR</a>}
          {canWrite && <Import toast={toast} done={live.again} />}
          {canWrite && !off && <Button kind="quiet" icon="trash" label="Forget all" onClick={() => setDialog('clear')} />}
        </span>
      </header>
      {live.error && <Failure error={live.error} again={wrong ? null : live.again} />}
      {off ? <Off /> : (
        <div class={'split' + (id ? ' opened' : '')}>
          <section class="card flush listing" aria-label="List">
            <Facts state={live.state} rate={live.rate} list={live.list} />
            {live.list.length ? <List list={live.list} chosen={id} open={open} more={live.more} next={live.next} /> : live.loading ? <div class="loading" role="status">Loading …</div> : !wrong && <Nothing state={live.state} filter={filter} ring={ring} />}
          </section>
          {id && <Detail id={id} close={() => go('exchanges', [], query)} narrow={(f) => replace('exchanges', [id], { ...query, filter: (filter + ' ' + f).trim() })} />}
        </div>
      )}
      {dialog === 'filters' && <FilterHelp onClose={() => setDialog(null)} use={setTyped} />}
      {dialog === 'clear' && <Confirm title="Forget all exchanges?" action="Forget" onYes={clear} onClose={() => setDialog(null)}>What is recorded and imported is removed from weir's memory.</Confirm>}
    </>
  );
}
