// The address after # says what is shown: #/upstreams?q=blue. Back and forward work, and
// an address can be sent to somebody.
import { useLayoutEffect, useState } from 'preact/hooks';

function parse() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(decodeURIComponent);
  return { page: parts[0] || 'overview', rest: parts.slice(1), query: Object.fromEntries(new URLSearchParams(query)) };
}

export const link = (page, rest = [], query = {}) => {
  const q = new URLSearchParams(Object.entries(query).filter(([, v]) => v)).toString();
  return '#/' + [page, ...rest].map(encodeURIComponent).join('/') + (q ? '?' + q : '');
};

export const go = (...where) => {
  location.hash = link(...where);
};

// replace changes the address without a step in the history.
export const replace = (...where) => {
  history.replaceState(null, '', link(...where));
  dispatchEvent(new HashChangeEvent('hashchange'));
};

export function useRoute() {
  const [route, set] = useState(parse);
  useLayoutEffect(() => { // no change after the first rendering is missed
    const changed = () => set(parse());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return route;
}
