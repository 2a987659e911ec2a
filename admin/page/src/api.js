// The admin API as the page calls it.
import { useEffect, useRef, useState } from 'preact/hooks';

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status; // 0 if weir was not reached
  }
}

// at is where a path of the API is, seen from the page. It is relative, so that the page
// also works below a prefix.
export const at = (path) => '..' + path;

// onRefused is told about answers that mean that no user is logged in.
let onRefused = () => {};
export const whenRefused = (f) => {
  onRefused = f;
};

// send makes a request and returns the response, or throws what weir says is wrong.
export async function send(method, path, body, { signal, raw } = {}) {
  let response;
  try {
    response = await fetch(at(path), {
      method, signal, cache: 'no-store', redirect: 'error',
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
      body: body === undefined || raw ? body : JSON.stringify(body),
    });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new Refused('weir does not answer: it has stopped, or cannot be reached', 0);
  }
  if (response.ok) return response;
  let message = 'weir answered ' + response.status;
  try {
    message = (await response.json()).error || message;
  } catch {
    // no JSON: the status has to do
  }
  if (response.status === 401) onRefused();
  throw new Refused(message, response.status);
}

export const get = async (path, options) => (await send('GET', path, undefined, options)).json();

export const post = async (path, body, options) => (await send('POST', path, body, options)).json();

// usePoll asks for a path, again and again while the page is seen if every (in ms) is not 0. It
// returns the last answer, the last error (null once an answer came), and a function that
// asks at once.
export function usePoll(path, every = 0) {
  const [state, setState] = useState({ data: null, error: null, at: 0 });
  const again = useRef(() => {});
  useEffect(() => {
    let timer;
    let request = null; // null once the page has left
    const ask = async () => {
      clearTimeout(timer);
      request?.abort();
      const mine = (request = new AbortController());
      try {
        const data = await get(path, { signal: mine.signal });
        if (mine === request) setState({ data, error: null, at: Date.now() });
      } catch (error) {
        if (mine === request) setState((s) => ({ ...s, error }));
      }
      if (mine === request && every && !document.hidden) timer = setTimeout(ask, every);
    };
    const seen = () => (document.hidden ? clearTimeout(timer) : ask());
    again.current = ask;
    setState({ data: null, error: null, at: 0 });
    ask();
    document.addEventListener('visibilitychange', seen);
    return () => {
      clearTimeout(timer);
      request?.abort();
      request = null;
      document.removeEventListener('visibilitychange', seen);
    };
  }, [path, every]);
  return { ...state, again: () => again.current() };
}
