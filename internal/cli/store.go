package cli

import "syscall"

// store leaves a copy of each listening socket with the service manager, which keeps the ports open while weir is
// restarted or after it has crashed, and takes back those of listeners that are no more.
func (p *process) store() {
	if p.manager == nil {
		return
	}
	if p.stored == nil {
		p.stored = make(map[string]bool)
		for _, name := range p.server.StoredBefore() {
			p.stored[name] = false // perhaps
		}
	}
	open := make(map[string]bool)
	p.server.EachStorable(func(name string, socket syscall.Conn) {
		open[name] = true
		if !p.stored[name] {
			p.tell(p.manager.Store(name, socket))
		}
	})
	for name := range p.stored {
		if !open[name] {
			p.tell(p.manager.Forget(name))
		}
	}
	p.stored = open
}
