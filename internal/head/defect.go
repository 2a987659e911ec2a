package head

import "errors"

// ErrShort says that a head is not complete yet: read more and scan again.
var ErrShort = errors.New("head is not complete")

// Defect is a named reason why a message is refused. Defects are compared by
// identity.
type Defect struct {
	// Status is what a client is told (RFC 9110 section 15). A target's
	// message with a defect becomes a 502 whatever stands here.
	Status int
	// Name is a short, stable name for logs.
	Name string
}

func (d *Defect) Error() string { return d.Name }

// The defects of heads and trailer sections.
var (
	DefectBareLF          = &Defect{400, "line feed without carriage return"}
	DefectRequestLine     = &Defect{400, "malformed request line"}
	DefectStatusLine      = &Defect{400, "malformed status line"}
	DefectVersion         = &Defect{505, "HTTP version is neither 1.0 nor 1.1"}
	DefectMethod          = &Defect{400, "method is not a token"}
	DefectTunnelMethod    = &Defect{405, "method CONNECT or TRACE"}
	DefectTarget          = &Defect{400, "malformed request target"}
	DefectEmptyLines      = &Defect{400, "too many empty lines before the request line"}
	DefectFold            = &Defect{400, "folded header line"}
	DefectNoColon         = &Defect{400, "header line without colon"}
	DefectName            = &Defect{400, "field name is not a token"}
	DefectValue           = &Defect{400, "control byte in a field value"}
	DefectLength          = &Defect{400, "malformed Content-Length"}
	DefectTwoLengths      = &Defect{400, "more than one Content-Length"}
	DefectLengthAndCoding = &Defect{400, "Content-Length and Transfer-Encoding together"}
	DefectTwoCodings      = &Defect{400, "more than one Transfer-Encoding"}
	DefectCoding          = &Defect{400, "malformed Transfer-Encoding"}
	DefectUnknownCoding   = &Defect{501, "unknown transfer coding"}
	DefectCodingIn10      = &Defect{400, "Transfer-Encoding in HTTP/1.0"}
	DefectNoLength        = &Defect{411, "HTTP/1.0 request with a body method but no Content-Length"}
	DefectNoHost          = &Defect{400, "no Host field"}
	DefectTwoTypes        = &Defect{400, "more than one Content-Type"}
	DefectTwoHosts        = &Defect{400, "more than one Host field"}
	DefectHost            = &Defect{400, "malformed Host"}
	DefectAnnounced       = &Defect{400, "announced trailer field that may not stand in a trailer section"}
	DefectTrailer         = &Defect{400, "malformed trailer section"}
	DefectHeadSize        = &Defect{431, "head is too large"}
	DefectLineSize        = &Defect{414, "request line is too long"}
)
