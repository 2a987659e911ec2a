package rule

import "bytes"

// SameOrigin resolves a reference against the request's URL (RFC 3986 section
// 5) and returns its target if it has the same origin. Dot segments are only
// merged where they stand in a relative reference.
func SameOrigin(q *Request, ref []byte) (target []byte, ok bool) {
	if ref == nil {
		return nil, false
	}
	ref, _, _ = bytes.Cut(ref, []byte{'#'})
	if i := bytes.Index(ref, []byte("://")); i >= 0 && !bytes.ContainsAny(ref[:i], "/?") {
		if !bytes.EqualFold(ref[:i], q.Scheme) {
			return nil, false
		}
		ref = ref[i+1:]
	}
	if bytes.HasPrefix(ref, []byte("//")) {
		host := ref[2:]
		rest := []byte("/")
		if i := bytes.IndexAny(host, "/?"); i >= 0 {
			host, rest = host[:i], host[i:]
		}
		if !bytes.Equal(appendHost(nil, q.Scheme, host), appendHost(nil, q.Scheme, q.Host)) {
			return nil, false
		}
		if rest[0] == '?' {
			rest = append([]byte{'/'}, rest...)
		}
		return rest, true
	}
	if i := bytes.IndexAny(ref, ":/?"); i >= 0 && ref[i] == ':' {
		return nil, false // another scheme, without an authority
	}
	path, _, _ := bytes.Cut(q.Target, []byte{'?'})
	switch {
	case len(ref) == 0:
		return q.Target, true
	case ref[0] == '/':
		return ref, true
	case ref[0] == '?':
		return append(bytes.Clone(path), ref...), true
	}
	base := path[:bytes.LastIndexByte(path, '/')+1]
	refPath, refQuery, has := bytes.Cut(ref, []byte{'?'})
	target = mergeDots(append(bytes.Clone(base), refPath...))
	if has {
		target = append(append(target, '?'), refQuery...)
	}
	return target, true
}

// mergeDots removes "." and ".." segments.
func mergeDots(path []byte) []byte {
	var out [][]byte
	segments := bytes.Split(path, []byte{'/'})
	for i, s := range segments {
		last := i == len(segments)-1
		switch string(s) {
		case ".":
			if last {
				out = append(out, nil)
			}
		case "..":
			if len(out) > 1 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, nil)
			}
		default:
			out = append(out, s)
		}
	}
	return bytes.Join(out, []byte{'/'})
}
