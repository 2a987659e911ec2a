// Package dnstest has a name server for tests, whose records can be changed, and which can be stopped,
// slow, wrong or full of nonsense.
package dnstest

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"weir/discover/discovertest"
	"weir/lb"
)

// Server is a name server on the loopback interface.
type Server struct {
	// Addr is its address for UDP and TCP.
	Addr string

	mu      sync.Mutex
	records []dns.RR
	// answer makes what is sent of the right answer; nil from it means none.
	answer func(*dns.Msg) *dns.Msg
	// judge says with which code a question is answered; nil means with the right one.
	judge     func(*dns.Msg) int
	questions map[string]int
	servers   []*dns.Server
}

// Start starts a server.
func Start() (*Server, error) {
	s := &Server{questions: make(map[string]int)}
	for try := 0; ; try++ {
		s.Addr = discovertest.OwnAddress()
		err := s.Start()
		if err == nil || try == 10 { // another program may have the port for TCP
			return s, err
		}
	}
}

// Start starts it again after Stop.
func (s *Server) Start() error {
	for end := time.Now().Add(startLimit); ; time.Sleep(10 * time.Millisecond) {
		err := s.start()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			return err
		}
	}
}

// startLimit is how long Start waits for another program's client that has the port by chance.
const startLimit = 10 * time.Second

func (s *Server) start() error {
	packets, err := net.ListenPacket("udp", s.Addr)
	if err != nil {
		return err
	}
	addr := packets.LocalAddr().String()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, packets.Close())
	}
	s.Addr = addr
	s.servers = nil
	var started sync.WaitGroup
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: ln}} {
		server.Handler = dns.HandlerFunc(s.serve)
		started.Add(1)
		server.NotifyStartedFunc = started.Done
		s.servers = append(s.servers, server)
		go server.ActivateAndServe()
	}
	started.Wait()
	return nil
}

// Stop ends it; its records stay.
func (s *Server) Stop() error {
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Shutdown())
	}
	return errors.Join(errs...)
}

// Set makes these its records, in the form of a zone file.
func (s *Server) Set(records ...string) error {
	var list []dns.RR
	for _, text := range records {
		r, err := dns.NewRR(text)
		if err != nil {
			return err
		}
		list = append(list, r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = list
	return nil
}

// Answer makes f change each answer before it is sent; nil sends what is right. f returns nil to
// send none.
func (s *Server) Answer(f func(*dns.Msg) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// Question makes f look at each question first: those for which it returns another code than that of success are answered with that code
// alone. nil answers all.
func (s *Server) Question(f func(*dns.Msg) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = f
}

// Questions returns how often something was asked: "A name." or so.
func (s *Server) Questions(question string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.questions[question]
}

func (s *Server) serve(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.questions[dns.TypeToString[q.Question[0].Qtype]+" "+q.Question[0].Name]++
	reply := s.reply(q)
	if _, packet := w.RemoteAddr().(*net.UDPAddr); packet {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		reply.Truncate(size)
	}
	if s.judge != nil {
		if code := s.judge(q); code != dns.RcodeSuccess {
			reply = new(dns.Msg).SetRcode(q, code)
		}
	}
	if s.answer != nil {
		reply = s.answer(reply)
	}
	if reply != nil {
		w.WriteMsg(reply)
	}
}

// reply returns the right answer.
func (s *Server) reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	name, kind := q.Question[0].Name, q.Question[0].Qtype
	exists := false
	for range 8 {
		alias := ""
		for _, r := range s.records {
			if !strings.EqualFold(r.Header().Name, name) {
				continue
			}
			exists = true
			if r.Header().Rrtype == kind {
				m.Answer = append(m.Answer, r)
			} else if c, ok := r.(*dns.CNAME); ok {
				m.Answer = append(m.Answer, r)
				alias = c.Target
			}
		}
		if alias == "" {
			break
		}
		name = alias
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	for _, r := range s.records {
		if r.Header().Rrtype == dns.TypeSOA && len(m.Answer) == 0 {
			m.Ns = append(m.Ns, r)
		}
	}
	return m
}

// Endpoints sets the addresses of app.test, or SRV records of _http._tcp.app.test, to those
// of endpoints, with a time to live of a second.
func (s *Server) Endpoints(list []lb.Endpoint, services bool) error {
	var records []string
	for _, e := range list {
		host, port, err := net.SplitHostPort(strings.TrimPrefix(e.URL, "http://"))
		if err != nil {
			return err
		}
		if !services {
			records = append(records, "app.test. 1 IN A "+host)
			continue
		}
		name := "host" + strings.ReplaceAll(host, ".", "-") + ".test."
		records = append(records, name+" 1 IN A "+host, "_http._tcp.app.test. 1 IN SRV 0 "+strconv.Itoa(e.Weight)+" "+port+" "+name)
	}
	return s.Set(records...)
}
