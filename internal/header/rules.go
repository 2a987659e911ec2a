package header

import (
	"github.com/valyala/fasthttp"

	"weir/config"
)

// RequestRules are the compiled rules for one route's requests. nil are no
// rules. They are never changed and may be used by any number of goroutines.
type RequestRules struct{}

// ResponseRules are the compiled rules for one route's responses. nil are no
// rules. They are never changed and may be used by any number of goroutines.
type ResponseRules struct{}

// CompileRequest compiles rules for requests. captures are the names that the
// route's path captures. Without any rule it returns nil. An error is always of
// type Problems.
func CompileRequest(r config.HeaderRules, captures []string) (*RequestRules, error) { return nil, nil }

// CompileResponse compiles rules for responses, as CompileRequest does.
func CompileResponse(r config.HeaderRules, captures []string) (*ResponseRules, error) {
	return nil, nil
}

// Apply removes, sets and adds fields, in this order. lookup returns the value
// of a variable; CR, LF and NUL in it become spaces.
func (r *RequestRules) Apply(h *fasthttp.RequestHeader, lookup func(name string) []byte) {}

// Apply removes, sets and adds fields, in this order. lookup returns the value
// of a variable; CR, LF and NUL in it become spaces.
func (r *ResponseRules) Apply(h *fasthttp.ResponseHeader, lookup func(name string) []byte) {}
