package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weir/discover"
)

// registrar writes endpoints, each with a lease of its own.
type registrar struct {
	place
	client *clientv3.Client // nil until it is needed
	leases map[string]lease // by key
}

type lease struct {
	id  clientv3.LeaseID
	ttl time.Duration
}

// Put writes e, or renews its lease.
func (r *registrar) Put(ctx context.Context, e discover.Entry, ttl time.Duration) error {
	if err := r.connect(); err != nil {
		return err
	}
	key, value := r.key(e), string(discover.FormatEndpoint(e.Endpoint))
	id, err := r.renew(ctx, key, ttl)
	if err != nil {
		return err
	}
	// The key may be gone, or changed by another process, although the lease is there.
	_, err = r.client.Txn(ctx).
		If(clientv3.Compare(clientv3.Value(key), "=", value), clientv3.Compare(clientv3.LeaseValue(key), "=", id)).
		Else(clientv3.OpPut(key, value, clientv3.WithLease(id))).
		Commit()
	return err
}

// renew renews the lease of a key, or makes one.
func (r *registrar) renew(ctx context.Context, key string, ttl time.Duration) (clientv3.LeaseID, error) {
	if l, ok := r.leases[key]; ok && l.ttl == ttl {
		_, err := r.client.KeepAliveOnce(ctx, l.id)
		if !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return l.id, err
		}
	}
	granted, err := r.client.Grant(ctx, int64(max(ttl.Round(time.Second), time.Second)/time.Second))
	if err != nil {
		return 0, err
	}
	r.leases[key] = lease{granted.ID, ttl}
	return granted.ID, nil
}

// Withdraw removes e and its lease.
func (r *registrar) Withdraw(ctx context.Context, e discover.Entry) error {
	if err := r.connect(); err != nil {
		return err
	}
	key := r.key(e)
	if _, err := r.client.Delete(ctx, key); err != nil {
		return err
	}
	if l, ok := r.leases[key]; ok {
		delete(r.leases, key)
		if _, err := r.client.Revoke(ctx, l.id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
	}
	return nil
}

// Close ends the connections. Leases run out.
func (r *registrar) Close() error {
	if r.client == nil {
		return nil
	}
	return r.client.Close()
}

func (r *registrar) connect() (err error) {
	if r.client == nil {
		r.leases = make(map[string]lease)
		r.client, err = r.open(context.Background())
	}
	return err
}

func (r *registrar) key(e discover.Entry) string { return r.prefix + "/" + discover.FormatKey(e) }
