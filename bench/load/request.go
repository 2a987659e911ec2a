package load

import "strconv"

// Get is a raw GET request for path.
func Get(host, path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: weirload\r\nAccept: */*\r\n\r\n")
}

// Post is a raw POST request with a body of size bytes.
func Post(host, path string, size int) []byte {
	b := []byte("POST " + path + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: weirload\r\nAccept: */*\r\nContent-Type: application/octet-stream\r\nContent-Length: " +
		strconv.Itoa(size) + "\r\n\r\n")
	for i := range size {
		b = append(b, 'a'+byte(i%26))
	}
	return b
}
