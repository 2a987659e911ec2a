package load

import "strconv"

// Request is what is asked for again and again.
type Request struct {
	// Method is GET where it is empty.
	Method string
	// Host is the field of that name, Path what is asked for, with its query.
	Host, Path string
	// Fields are further fields, as "Name: value".
	Fields []string
	Body   []byte
}

// Raw is the request in HTTP/1.1. It has a Content-Length where it has a body, or a method
// for which one is usual.
func (r Request) Raw() []byte {
	method := r.Method
	if method == "" {
		method = "GET"
	}
	b := []byte(method + " " + r.Path + " HTTP/1.1\r\nHost: " + r.Host + "\r\n")
	for _, f := range r.Fields {
		b = append(b, f+"\r\n"...)
	}
	if len(r.Body) > 0 || method == "POST" || method == "PUT" || method == "PATCH" {
		b = append(b, "Content-Length: "+strconv.Itoa(len(r.Body))+"\r\n"...)
	}
	return append(append(b, "\r\n"...), r.Body...)
}

// Get is a raw GET request for path.
func Get(host, path string) []byte {
	return Request{Host: host, Path: path, Fields: []string{"User-Agent: weir-bench", "Accept: */*"}}.Raw()
}

// Browser is a raw GET request for path as a current browser sends it for a page
// of a site that it knows: 14 fields, some 700 bytes.
func Browser(host, path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" +
		"Connection: keep-alive\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\n" +
		"sec-ch-ua-mobile: ?0\r\n" +
		"sec-ch-ua-platform: \"Linux\"\r\n" +
		"Upgrade-Insecure-Requests: 1\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\n" +
		"Sec-Fetch-Site: same-origin\r\n" +
		"Sec-Fetch-Mode: navigate\r\n" +
		"Sec-Fetch-Dest: document\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: en-GB,en;q=0.9\r\n" +
		"Cookie: session=4f1d0c9b7a3e4d5c8b6a1f2e3d4c5b6a; theme=dark; consent=1; visits=12; currency=EUR\r\n\r\n")
}

// Post is a raw POST request with a body of size bytes.
func Post(host, path string, size int) []byte {
	body := make([]byte, size)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	return Request{
		Method: "POST", Host: host, Path: path, Body: body,
		Fields: []string{"User-Agent: weir-bench", "Accept: */*", "Content-Type: application/octet-stream"},
	}.Raw()
}
