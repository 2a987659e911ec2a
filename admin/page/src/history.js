// The last minutes of weir, which weir itself remembers: charts are full from the start.
import { useEffect, useState } from 'preact/hooks';
import { get } from './api.js';

const most = 450;

// join puts newer points after older ones and drops what is too old. What is no list stays.
function join(old, next) {
  if (!old) return next;
  const all = {};
  for (const [key, values] of Object.entries(next)) {
    all[key] = Array.isArray(values) ? [...old[key], ...values].slice(-most) : values;
  }
  return all;
}

export function useHistory() {
  const [state, setState] = useState({ data: null, error: null });
  useEffect(() => {
    let timer;
    let ended = false;
    let data = null;
    const ask = async () => {
      clearTimeout(timer);
      try {
        const since = data?.time.at(-1);
        const next = await get('/history' + (since ? '?since=' + since : ''));
        if (ended) return;
        if (!data || next.time.length) setState({ data: (data = join(data, next)), error: null });
      } catch (error) {
        if (!ended) setState({ data, error });
      }
      if (!ended && !document.hidden) timer = setTimeout(ask, 2000);
    };
    const seen = () => !document.hidden && ask();
    ask();
    document.addEventListener('visibilitychange', seen);
    return () => {
      ended = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    };
  }, []);
  return state;
}
