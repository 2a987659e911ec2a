package transport

// SendForTest sends bytes that need not be a request, as Send does a whole request.
func SendForTest(c *Conn, p []byte) error { return c.sendLater(p) }
