// The exchanges that are recorded, newest first: those of before, then each as it passes.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { at, get } from './api.js';

// most bounds the list; what is older is in weir, as long as its memory lasts.
const most = 5000;

const query = (o) => new URLSearchParams(Object.entries(o).filter(([, v]) => v)).toString();

// useLive returns { list, next, error, state, rate, waiting } and actions. While held, news wait.
export function useLive(filter, ring, held) {
  const [view, setView] = useState({ list: [], next: '', error: null, loading: true });
  const [state, setState] = useState(null);
  const [rate, setRate] = useState(null);
  const [round, setRound] = useState(0);
  const [waiting, setWaiting] = useState(0);
  const queue = useRef([]);
  const isHeld = useRef(held);
  isHeld.current = held;

  const add = useCallback((news) => {
    setView((v) => {
      const known = new Set(v.list.slice(0, 400).map((x) => x.id));
      const fresh = news.filter((x) => !known.has(x.id)).reverse();
      return fresh.length ? { ...v, list: [...fresh, ...v.list].slice(0, most) } : v;
    });
  }, []);

  useEffect(() => {
    if (held || !queue.current.length) return;
    add(queue.current);
    queue.current = [];
    setWaiting(0);
  }, [held]);

  useEffect(() => {
    let source;
    let ended = false;
    let early = null; // what passes while the list is read; null otherwise
    queue.current = [];
    setWaiting(0);
    setRate(null);
    setView((v) => ({ ...v, error: null, loading: true }));
    const read = async () => {
      early = [];
      try {
        const found = await get('/inspect/exchanges?' + query({ filter, ring, limit: 200 }));
        if (ended) return;
        setView({ list: found.exchanges, next: found.next, error: null, loading: false });
        add(early);
      } catch (error) {
        if (!ended) setView({ list: [], next: '', error, loading: false });
      }
      early = null;
    };
    const watch = () => {
      const terms = [filter, ring !== 'all' && 'kind=' + ring].filter(Boolean).join(' ');
      source = new EventSource(at('/inspect/stream?' + query({ filter: terms })));
      // The list is read once the stream has begun, and again after it was cut, so that nothing falls in between.
      source.onopen = read;
      source.onerror = () => source.readyState === EventSource.CLOSED && read();
      let then = performance.now();
      source.addEventListener('exchanges', (e) => {
        const news = JSON.parse(e.data);
        const now = performance.now();
        setRate({ passed: news.passed / Math.max(0.25, (now - then) / 1000), dropped: news.dropped });
        then = now;
        if (early) return early.push(...news.exchanges);
        if (!isHeld.current) return add(news.exchanges);
        queue.current = [...queue.current, ...news.exchanges].slice(-most);
        setWaiting(queue.current.length);
      });
      source.addEventListener('state', (e) => setState(JSON.parse(e.data)));
    };
    (async () => {
      try {
        const s = await get('/inspect');
        if (ended) return;
        setState(s);
        if (!s.enabled && !s.imported) return setView({ list: [], next: '', error: null, loading: false });
        if (s.enabled) watch();
        else await read();
      } catch (error) {
        if (!ended) setView({ list: [], next: '', error, loading: false });
      }
    })();
    return () => {
      ended = true;
      source?.close();
    };
  }, [filter, ring, round]);

  const more = async () => {
    try {
      const found = await get('/inspect/exchanges?' + query({ filter, ring, limit: 200, before: view.next }));
      setView((v) => ({ ...v, list: [...v.list, ...found.exchanges], next: found.next }));
    } catch (error) {
      setView((v) => ({ ...v, error }));
    }
  };
  return { ...view, state, rate, waiting, more, again: () => setRound((n) => n + 1) };
}
