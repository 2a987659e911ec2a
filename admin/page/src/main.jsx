// The frame: navigation, what is wrong, messages, keys.
import { render } from 'preact';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { get, post, usePoll, whenRefused } from './api.js';
import { go, link, useRoute } from './router.js';
import { Button, Dialog, Failure, Icon, Shell } from './ui.jsx';
import { span } from './format.js';
import { Overview } from './pages/overview.jsx';
import { Exchanges } from './pages/exchanges.jsx';
import { Routes } from './pages/routes.jsx';
import { Statistics } from './pages/statistics.jsx';
import { Upstreams } from './pages/upstreams.jsx';
import { Cache } from './pages/cache.jsx';
import { Config } from './pages/config.jsx';
import { Explain } from './pages/explain.jsx';
import { Discovery } from './pages/discovery.jsx';

const pages = [
  ['overview', 'Overview', Overview],
  ['exchanges', 'Exchanges', Exchanges],
  ['statistics', 'Statistics', Statistics],
  ['routes', 'Routes', Routes],
  ['upstreams', 'Upstreams', Upstreams],
  ['cache', 'Cache', Cache],
  ['config', 'Config', Config],
  ['explain', 'Explain', Explain],
  ['discovery', 'Discovery', Discovery],
];

const themes = ['auto', 'light', 'dark'];

function applyTheme(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  dispatchEvent(new Event('weir-theme'));
}

function useChosenTheme() {
  const [theme, set] = useState(localStorage.getItem('weir-theme') || 'auto');
  useEffect(() => {
    localStorage.setItem('weir-theme', theme);
    applyTheme(theme);
  }, [theme]);
  return [theme, () => set(themes[(themes.indexOf(theme) + 1) % themes.length])];
}

// useSession is who the user is to weir.
function useSession() {
  const [session, set] = useState(null);
  const ask = useCallback(() => get('/session').then(set, (error) => set({ role: '', error })), []);
  useEffect(() => {
    whenRefused(ask);
    ask();
  }, []);
  return [session, set, ask];
}

function Login({ onDone }) {
  const [error, setError] = useState(null);
  const input = useRef();
  useEffect(() => input.current.focus(), []);
  const submit = (e) => {
    e.preventDefault();
    post('/login', { token: input.current.value.trim() }).then(onDone, setError);
  };
  return (
    <main class="login">
      <form onSubmit={submit} class="card">
        <h1><Mark /> weir</h1>
        <label>
          Token
          <input ref={input} type="password" autocomplete="current-password" required />
        </label>
        {error && <Failure error={error} />}
        <button class="button primary" type="submit">Log in</button>
        <p class="hint">It is one of those in <code>[admin]</code> of weir's configuration.</p>
      </form>
    </main>
  );
}

const Mark = () => (
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="7" />
    <path d="M5 11.500c3.700 0 3.700 3 7.300 3s3.700-3 7.400-3 3.700 3 7.300 3M5 19c3.700 0 3.700 3 7.300 3s3.700-3 7.400-3 3.700 3 7.300 3" />
  </svg>
);

const keys = [
  ['1 … ' + pages.length, 'go to a page'],
  ['/', 'search or filter'],
  ['j k', 'next, previous row'],
  ['Enter', 'open'],
  ['Esc', 'close, leave a field'],
  ['p', 'hold the list of exchanges, or let it go on'],
  ['c r e', 'of an exchange: copy as curl, replay, edit and replay'],
  ['t', 'light, dark, as the system'],
  ['?', 'this list'],
];

const Help = ({ onClose }) => (
  <Dialog title="Keys" onClose={onClose}>
    <dl class="keys">
      {keys.map(([key, what]) => (
        <div key={key}>
          <dt>{key.split(' ').map((k) => (k === '…' ? ' … ' : <kbd key={k}>{k}</kbd>))}</dt>
          <dd>{what}</dd>
        </div>
      ))}
    </dl>
    <p class="hint">The page has <a href="licences.txt">parts of other authors</a>.</p>
  </Dialog>
);

const typing = (e) => e.target.closest?.('input, textarea, select, [contenteditable]');

// rowStep moves the focus among the rows that can be opened.
function rowStep(by) {
  const list = document.querySelector('[data-list]');
  if (list) {
    list.focus();
    list.dispatchEvent(new CustomEvent('step', { detail: by }));
    return;
  }
  const rows = [...document.querySelectorAll('[data-row]')];
  if (!rows.length) return;
  const i = rows.findIndex((r) => r === document.activeElement || r.contains(document.activeElement));
  rows[Math.max(0, Math.min(rows.length - 1, i < 0 ? 0 : i + by))].focus();
}

function useKeys({ help, theme }) {
  useLayoutEffect(() => { // keys count as soon as the page is seen
    const pressed = (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.defaultPrevented || document.querySelector('dialog[open]')) return;
      if (typing(e)) {
        if (e.key === 'Escape') e.target.blur();
        return;
      }
      const n = Number(e.key);
      if (n >= 1 && n <= pages.length) go(pages[n - 1][0]);
      else if (e.key === '/') document.querySelector('[data-search]')?.focus();
      else if (e.key === 'j') rowStep(1);
      else if (e.key === 'k') rowStep(-1);
      else if (e.key === '?') help();
      else if (e.key === 't') theme();
      else return;
      e.preventDefault();
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, [theme]);
}

function useToasts() {
  const [toasts, set] = useState([]);
  const toast = useCallback((text, bad) => {
    const id = Math.random();
    set((list) => [...list.slice(-3), { id, text, bad }]);
    setTimeout(() => set((list) => list.filter((t) => t.id !== id)), bad ? 8000 : 3500);
  }, []);
  return [toasts, toast];
}

const Nav = ({ current, status, theme, nextTheme, help, session, logout }) => (
  <nav class="nav" aria-label="Pages">
    <a class="brand" href={link('overview')}><Mark /> <span>weir</span></a>
    <ul>
      {pages.map(([id, title], i) => (
        <li key={id}>
          <a href={link(id)} aria-current={current === id ? 'page' : undefined}>
            <Icon name={id} /> <span>{title}</span> <kbd aria-hidden="true">{i + 1}</kbd>
          </a>
        </li>
      ))}
    </ul>
    <div class="foot">
      {status && (
        <p title={'process ' + status.pid + ', ' + status.go}>
          <i class={'dot ' + (status.state === 'serving' ? 'ok' : 'warn')} /> {status.state}
          <br />
          {status.version}, up {span((Date.now() - new Date(status.started)) / 1000)}
        </p>
      )}
      <div class="tools">
        <Button kind="quiet" icon="theme" label={'Colours: ' + theme} onClick={nextTheme} />
        <Button kind="quiet" icon="help" label="Keys" onClick={help} />
        {session.login && session.name && <Button kind="quiet" onClick={logout}>Log out {session.name}</Button>}
      </div>
    </div>
  </nav>
);

function Frame({ session, setSession }) {
  const route = useRoute();
  const status = usePoll('/status', 2000);
  const [toasts, toast] = useToasts();
  const [theme, nextTheme] = useChosenTheme();
  const [help, setHelp] = useState(false);
  useKeys({ help: () => setHelp(true), theme: nextTheme });
  const [id, title, Page] = pages.find(([name]) => name === route.page) || pages[0];
  const main = useRef();
  const first = useRef(true);
  useEffect(() => {
    document.title = title + ' · weir';
    if (!first.current) main.current.focus();
    first.current = false;
    document.querySelector('.nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    scrollTo(0, 0);
  }, [id]);
  const shell = useMemo(() => ({ toast, canWrite: session.role === 'write', status: status.data }), [toast, session, status.data]);
  const logout = () => post('/logout', {}).then(setSession, (e) => toast(e.message, true));
  return (
    <Shell.Provider value={shell}>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current.focus(); }}>To the content</a>
      <Nav current={id} status={status.data} theme={theme} nextTheme={nextTheme} help={() => setHelp(true)} session={session} logout={logout} />
      <main ref={main} tabIndex={-1} class={'page ' + id}>
        {status.error?.status === 0 && <Failure error={status.error} again={status.again} />}
        {session.role === 'read' && <p class="hint">You may look, but not change anything.</p>}
        <Page route={route} />
      </main>
      <div class="toasts" role="status" aria-live="polite">
        {toasts.map((t) => <p key={t.id} class={t.bad ? 'bad' : ''}>{t.text}</p>)}
      </div>
      {help && <Help onClose={() => setHelp(false)} />}
    </Shell.Provider>
  );
}

function App() {
  const [session, setSession, ask] = useSession();
  if (!session) return <div class="loading" role="status">Loading …</div>;
  if (session.error) return <main class="login"><Failure error={session.error} again={ask} /></main>;
  if (!session.role) return <Login onDone={setSession} />;
  return <Frame session={session} setSession={setSession} />;
}

applyTheme(localStorage.getItem('weir-theme') || 'auto');
const root = document.getElementById('app');
root.replaceChildren();
render(<App />, root);
