/*
 * One delivery: its row, its partition, its message, and two dispatchers.
 *
 * Names are those of the code; README.md says for each guard which function or
 * SQL predicate it stands for. Every guard has a switch, -DNO_..., that removes
 * it: the checker must then find a trace.
 *
 * Times are remaining ticks. A tick passes only when every dispatcher that can
 * act has acted; one that is paused lets it pass.
 */

#define N 2

/* Durations, in ticks of some six seconds. */
#define PARTITION_LEASE 1 /* partitionLease */
#define ATTEMPT         3 /* AttemptTimeout */
#define LEASE_LEFT      4 /* Options.LeaseLeft */
#define FIRST_LEASE     6 /* FirstLease */
#define LEASE           7 /* LeaseDuration */
#define RETRY           4 /* RetryDelay */
#ifndef MAX_ATTEMPTS
#define MAX_ATTEMPTS    2 /* max_attempts */
#endif

/* How often each fault may happen in one run. */
#ifndef STALLS
#define STALLS 2 /* pauses, and cuts from the database */
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef REPEATS
#define REPEATS 1 /* further copies of the message */
#endif
#ifndef DOUBTS
#define DOUBTS 1 /* commits whose answer is lost */
#endif
#ifndef MOVES
#define MOVES 1 /* partitions that a live owner hands over */
#endif
#ifndef OPERATIONS
#define OPERATIONS 0 /* changes that people ask for: a retry, enabling or deleting the webhook */
#endif

#define NOBODY N       /* partition_owners.owner IS NULL */
#define DEAD   (N + 1) /* a dispatcher that died: its id never comes back */

mtype:status  = { none, pending, delivered, failed };
mtype:phase   = { phaseNew, phaseQueued, phaseFast, phaseRecording };
mtype:entry   = { entryOutcome, entryRelease, entryRenew };
mtype:hand    = { handEmpty, handFresh, handReclaim };
mtype:stall   = { running, paused, cut, dead };

/* The row of webhook_subscriber_deliveries. */
mtype:status status = none;
byte attempts;
byte maxAttempts = MAX_ATTEMPTS;
byte nextRetryAt;
bool leased; /* nextRetryAt is the end of a lease */

/* The row of partition_owners. */
byte owner = NOBODY;
byte leasedUntil;
byte former; /* tenure.former, and an attempt more: attempts of an owner before may run so long */

/* The message: copies that the broker may still deliver. */
byte copies;
bool deliveredOnce; /* NumDelivered > 1 from now on */
bool firstCurrent;  /* nextRetryAt is still the message's lease */
byte firstLease;    /* the message's lease */

typedef dispatcher {
	mtype:stall stall;
	/* ownership */
	bool beaten;   /* in this tick */
	bool owned;    /* scheduler.owned */
	bool consumer; /* messages are received */
	bool leaving;
	byte until;
	/* the consumer */
	bool old;  /* the message's lease is suspect */
	bool spare; /* the row was found under its first lease */
	bool seen; /* the message's sequence came before, to this consumer */
#ifdef REMEMBERS
	bool late; /* somebody else took the message after this consumer began */
#endif
	mtype:hand hand;
	bool stopped; /* the context of the consumer that the hand belongs to */
	/* the fetch */
	bool want;
	bool has; /* a leased row, not in the lane yet */
	bool hasCurrent;
	byte hasLease;
	byte hasAttempts;
	bool known; /* the lane knows that the row will be due */
	/* the held delivery */
	mtype:phase phase;
	mtype:entry entry;
	bool sent;    /* the header is written */
	bool tenure;  /* the partition has been owned since the start */
	bool current; /* nextRetryAt is this lease */
	bool ok;      /* the answer was 2xx */
	bool waits;   /* for the answer, until the next tick */
	bool later;   /* nextRetryAt is a lease that the row got meanwhile */
	bool counted; /* ghost: the outcome has been written */
	byte lease;
	byte left;    /* until the attempt's deadline */
	byte attempt;
};
dispatcher d[N];

/* Faults that are left. */
byte stalls = STALLS, crashes = CRASHES, repeats = REPEATS, doubts = DOUBTS, moves = MOVES, operations = OPERATIONS;

/* Ghosts: what the properties speak of. */
byte right;      /* how long the last POST may still run at the receiver */
byte poster = N; /* whose it is */
bool answered;   /* a dispatcher has read a 2xx */
bool excuse;     /* a process died, or a lease ran out, between a POST and its recorded outcome */
bool fanoutWaits, brokerWaits, operatorWaits;

#define LIVE(i)     (d[i].stall == running || d[i].stall == cut)
#define DATABASE(i) (d[i].stall == running)
#define CALM        (d[0].stall == running && d[1].stall == running)
#define UNRECORDED(i) (d[i].phase == phaseRecording && d[i].entry == entryOutcome || d[i].phase == phaseFast && d[i].sent)

/* A heartbeat is a sixth of the lease: an owner that is not stalled renews before others can claim. */
#define RENEWED (owner == i || owner >= N || !DATABASE(owner) || d[owner].beaten)

/* next_retry_at has a new value: no lease of before is the row's any more. */
inline changed() {
	firstCurrent = false;
	d[0].current = false; d[1].current = false;
	d[0].later = false; d[1].later = false;
	d[0].hasCurrent = false; d[1].hasCurrent = false
}

inline forget(i) {
	d[i].phase = phaseNew;
	d[i].sent = false; d[i].tenure = false; d[i].current = false; d[i].ok = false;
	d[i].waits = false; d[i].later = false; d[i].counted = false; d[i].lease = 0; d[i].left = 0; d[i].attempt = 0;
	d[i].entry = entryOutcome
}

inline dropFetched(i) {
	d[i].has = false; d[i].hasCurrent = false; d[i].hasLease = 0; d[i].hasAttempts = 0
}

inline record(i, what) {
	d[i].phase = phaseRecording;
	d[i].entry = what
}

/* Recorded. */
inline recorded(i) {
	if
	:: d[i].later -> forget(i); d[i].current = true; record(i, entryRelease)
	:: else -> forget(i)
	fi
}

inline stopConsumer(i) {
	d[i].consumer = false; d[i].old = false; d[i].seen = false;
#ifdef REMEMBERS
	d[i].late = false;
#endif
	if
	:: d[i].hand != handEmpty -> d[i].stopped = true
	:: else
	fi
}

/* A broker that forgets nothing sends a message again after AckWait, when the first lease is over. */
#define EARLY(i) (right > 0 && poster != i)

/* With REMEMBERS the broker forgets a message only if nobody else may have it in flight or took it after the consumer
 * began. Guards that are backed up by another one are shown to be needed in such a world. */
#ifdef REMEMBERS
#define MAY_FORGET(i) (!EARLY(i) && !d[i].late)
#else
#define MAY_FORGET(i) true
#endif

/* Any step may be the last before a stall or a death. */
inline fault(i) {
	if
	:: stalls > 0 -> stalls--; d[i].stall = paused; printf("%d: is paused\n", i)
	:: stalls > 0 -> stalls--; d[i].stall = cut; printf("%d: is cut from the database\n", i)
	:: crashes > 0 -> crashes--; printf("%d: dies\n", i);
		excuse = excuse || UNRECORDED(i);
		forget(i); dropFetched(i);
		d[i].stall = dead; d[i].owned = false; d[i].leaving = false; d[i].until = 0;
		d[i].want = false; d[i].known = false; d[i].spare = false;
		stopConsumer(i);
		d[i].hand = handEmpty; d[i].stopped = false;
		if
		:: owner == i -> owner = DEAD
		:: else
		fi;
		if
		:: poster == i -> poster = DEAD
		:: else
		fi
	:: true
	fi
}

/* closeLane releases what is queued. */
inline closeLane(i) {
	if
	:: d[i].phase == phaseQueued -> record(i, entryRelease)
	:: else
	fi;
	d[i].owned = false; d[i].known = false; d[i].want = false
}

/* What adopt does with a partition that went. */
inline giveUp(i) {
	stopConsumer(i);
	closeLane(i);
	d[i].leaving = false;
#ifndef NO_TENURE
	d[i].tenure = false
#endif
}

/* One heartbeat: renew, give up, claim, receive. */
inline beat(i) {
	printf("%d: beat, the owner is %d\n", i, owner);
	d[i].beaten = true;
	if
#ifdef NO_RENEW_OWNER
	:: d[i].owned && owner != i -> owner = i; leasedUntil = PARTITION_LEASE
#endif
	:: owner == i -> leasedUntil = PARTITION_LEASE
	:: else ->
#ifndef NO_GIVE_UP
		giveUp(i);
#endif
		if
#ifdef NO_CLAIM_CHECK
		:: true -> owner = i; leasedUntil = PARTITION_LEASE
#else
		:: owner == NOBODY -> owner = i; leasedUntil = PARTITION_LEASE
		:: owner != NOBODY && leasedUntil == 0 -> owner = i; leasedUntil = PARTITION_LEASE; former = ATTEMPT
#endif
		:: owner != NOBODY && leasedUntil > 0 -> giveUp(i)
		fi
	fi;
	d[i].until = PARTITION_LEASE; /* of the process, whatever it owns */
	if
	:: owner == i && !d[i].leaving ->
		d[i].owned = true;
		if
		:: !d[i].consumer -> d[i].consumer = true; d[i].old = (status != none)
		:: else
		fi
	:: else
	fi;
}

/* leave begins to hand the partition over. */
inline leave(i) {
	printf("%d: begins to hand its partition over\n", i);
	moves--;
	d[i].leaving = true;
	stopConsumer(i);
	closeLane(i)
}

/* shed ends a handover. Its time limit is longer than an attempt. */
#define HANDOVER(i) (d[i].phase == phaseFast && d[i].left == 0 || d[i].phase == phaseRecording)
inline shed(i) {
	excuse = excuse || UNRECORDED(i);
	printf("%d: hands its partition over\n", i);
	d[i].leaving = false;
#ifdef NO_FORMER_KEPT
	former = 0;
#endif
	owner = NOBODY; leasedUntil = 0
}

/* The message may not be taken: its broker is to send it again. */
inline refuse(i) {
	printf("%d: hands the message back\n", i);
	deliveredOnce = true;
	brokerWaits = true
}

/* Attempts of a former owner may still run. */
#ifdef NO_FORMER
#define WAITS false
#else
#define WAITS (former > 0)
#endif

/* redelivered: the message's row may not be under the message's lease any more. */
#ifdef NO_REDELIVERED
#define REPEATED(forgotten) false
#else
#define REPEATED(forgotten) (deliveredOnce && !forgotten)
#endif
#ifdef NO_SINCE
#define OLD(i) false
#else
#define OLD(i) d[i].old
#endif
#ifdef NO_SEEN
#define SEEN(i) false
#else
#define SEEN(i) d[i].seen
#endif
#define REDELIVERED(i, forgotten) (REPEATED(forgotten) || OLD(i) || SEEN(i))

/* handle takes the message apart. */
inline take(i, forgotten) {
	printf("%d: takes the message, redelivered %d, forgotten %d\n", i, deliveredOnce, forgotten);
	copies--;
	if
	:: firstLease == 0 -> skip /* it has expired */
	:: firstLease > 0 && REDELIVERED(i, forgotten) && WAITS -> copies++; refuse(i)
	:: firstLease > 0 && REDELIVERED(i, forgotten) && !WAITS -> d[i].hand = handReclaim
	:: else -> d[i].hand = handFresh
	fi;
	deliveredOnce = true;
#ifdef REMEMBERS
	d[1 - i].late = d[1 - i].consumer;
#endif
	d[i].seen = true
}

/* Add, of the message's delivery. */
inline addFresh(i) {
	printf("%d: adds the message's delivery\n", i);
	d[i].hand = handEmpty;
	if
#ifndef NO_SINCE
	:: d[i].phase == phaseNew && d[i].owned && !d[i].stopped && d[i].old -> d[i].hand = handReclaim /* Suspect */
#endif
#ifndef NO_HELD
	:: d[i].phase != phaseNew -> skip /* Duplicate */
#else
	:: d[i].phase != phaseNew && d[i].phase != phaseQueued -> assert(right == 0 || poster != i)
	:: d[i].phase == phaseQueued -> skip
#endif
	:: d[i].phase == phaseNew &&
#ifndef NO_SINCE
		!(d[i].owned && !d[i].stopped && d[i].old) &&
#endif
		true ->
		d[i].lease = firstLease; d[i].current = firstCurrent; d[i].attempt = 0;
#ifdef NO_STOPPED
		d[i].stopped = false;
#endif
		if
		:: d[i].owned && !d[i].stopped -> d[i].phase = phaseQueued
		:: else -> record(i, entryRelease) /* Foreign */
		fi
	fi;
	d[i].stopped = false
}

/* entryReclaim: the row must be under the message's lease. */
inline reclaim(i) {
	printf("%d: reclaims\n", i);
	d[i].hand = handEmpty;
	if
	:: d[i].phase != phaseNew -> skip
#ifndef NO_RECLAIM_TENURE
	:: d[i].phase == phaseNew && (d[i].stopped || d[i].until == 0) -> skip
#endif
	:: d[i].phase == phaseNew &&
#ifndef NO_RECLAIM_TENURE
		!d[i].stopped && d[i].until > 0 &&
#endif
#ifdef NO_RECLAIM_LEASE
		status == pending ->
#else
		status == pending && firstCurrent ->
#endif
		changed();
		nextRetryAt = LEASE; leased = true;
		d[i].lease = LEASE; d[i].current = true; d[i].attempt = 0;
		if
		:: d[i].owned -> d[i].phase = phaseQueued
		:: else -> record(i, entryRelease)
		fi
	:: else
	fi;
	d[i].stopped = false
}

/* takeLeased finds the row: its first lease began under this ownership, and its message did not come. */
#ifdef NO_LEASED_SINCE
#define LEASED_SINCE(i) true
#else
#define LEASED_SINCE(i) (!d[i].old)
#endif
/* stillOwns is asked after the row was found, and before it is released. */
#ifdef NO_LEASED_OWNER
#define STILL_OWNS(i) true
#else
#define STILL_OWNS(i) (owner == i)
#endif
inline findLeased(i) {
	printf("%d: finds the row under its first lease\n", i);
#ifndef NO_SUSPECT
	d[i].old = true;
#endif
	d[i].spare = true
}

/* takeLeased releases it. */
inline releaseLeased(i) {
	printf("%d: releases the row\n", i);
	d[i].spare = false;
	if
#ifdef NO_RELEASE_LEASE
	:: status == pending ->
#else
	:: status == pending && firstCurrent ->
#endif
		changed(); nextRetryAt = 0; leased = false; d[i].known = d[i].owned
	:: else
	fi
}

/* FetchDue. It knows nothing of owners. */
inline fetchDue(i) {
	printf("%d: fetches\n", i);
	d[i].want = false; d[i].known = false;
	if
#ifdef NO_DUE_CHECK
	:: status == pending ->
#else
	:: status == pending && nextRetryAt == 0 ->
#endif
		changed();
		nextRetryAt = LEASE; leased = true;
		d[i].has = true; d[i].hasCurrent = true; d[i].hasLease = LEASE; d[i].hasAttempts = attempts
	:: else
	fi
}

/* Add, of a fetched row. */
inline addFetched(i) {
	printf("%d: adds the fetched row\n", i);
	if
	:: d[i].phase == phaseQueued -> d[i].lease = d[i].hasLease; d[i].current = d[i].hasCurrent
	:: d[i].phase == phaseNew ->
		d[i].lease = d[i].hasLease; d[i].current = d[i].hasCurrent; d[i].attempt = d[i].hasAttempts;
		if
		:: d[i].owned -> d[i].phase = phaseQueued
		:: else -> record(i, entryRelease)
		fi
	:: else -> /* Duplicate */
#ifndef NO_LATER
		d[i].later = d[i].later || d[i].hasCurrent
#else
		skip
#endif
	fi;
	assert(!d[i].hasCurrent || d[i].current || d[i].later); /* no row is leased to nobody */
	dropFetched(i)
}

/* startNext, with mayStart. */
inline start(i) {
	printf("%d: starts, the lease has %d left\n", i, d[i].lease);
	if
#ifndef NO_LEASE_LEFT
	:: d[i].lease < LEASE_LEFT -> record(i, entryRenew)
#endif
	:: else -> d[i].phase = phaseFast; d[i].tenure = true; d[i].left = ATTEMPT
	fi
}

/* The fence, and the first byte of the request. */
inline send(i) {
	printf("%d: fence, until %d, tenure %d, left %d\n", i, d[i].until, d[i].tenure, d[i].left);
	if
	::
#ifndef NO_FENCE
	   d[i].until > 0 &&
#endif
	   d[i].tenure &&
#ifndef NO_DEADLINE
	   d[i].left > 0 &&
#endif
	   true ->
		assert(right == 0);              /* at most one right to POST */
		assert(!answered || excuse);     /* no second POST without its cause */
		d[i].sent = true;
		right = (d[i].left > 0 -> d[i].left : ATTEMPT); poster = i
	:: else -> record(i, entryRelease) /* Stopped */
	fi
}

inline answer(i) {
	printf("%d: answer\n", i);
	if
	:: d[i].left > 0 -> d[i].waits = true
	:: d[i].left > 0 -> d[i].ok = true; answered = true; record(i, entryOutcome)
	:: true -> record(i, entryOutcome)
	fi;
	if
	:: d[i].phase == phaseRecording && poster == i -> right = 0; poster = N
	:: else
	fi
}

/* recordDelivered. A success counts whenever it comes. */
inline recordDelivered(i) {
	printf("%d: records a success, status %e, attempts %d\n", i, status, attempts);
	if
#ifdef NO_FINAL_CHECK
	:: true ->
#else
	:: status == pending ->
#endif
		assert(status == pending);       /* a final row stays */
		assert(!d[i].counted);
		d[i].counted = true;
		status = delivered; attempts++;
		changed(); nextRetryAt = 0; leased = false
	:: else
	fi
}

/* recordFailed. Under a lease that is lost it counts, and leaves the rest to the lease's holder. */
inline recordFailed(i) {
	printf("%d: records the failure of attempt %d, current %d, status %e, attempts %d\n", i, d[i].attempt + 1, d[i].current, status, attempts);
	if
#ifdef NO_ATTEMPT_CHECK
	:: status == pending ->
#else
	:: status == pending && (attempts == d[i].attempt || d[i].current) ->
#endif
		assert(status == pending);
		assert(!d[i].counted);           /* each attempt counts once */
		d[i].counted = true;
		attempts++;
		if
#ifndef NO_OUTCOME_LEASE
		:: !d[i].current -> skip
#endif
		:: else ->
			assert(d[i].current);        /* the outcome of a lost lease overwrites nothing */
			changed(); leased = false;
			if
			:: attempts >= maxAttempts -> status = failed; nextRetryAt = 0
			:: else -> nextRetryAt = RETRY; d[i].known = d[i].owned
			fi
		fi
	:: else
	fi
}

/* WriteOutcomes, and settle. */
inline write(i) {
	printf("%d: writes %e\n", i, d[i].entry);
	if
	:: d[i].entry == entryOutcome ->
		if
		:: d[i].ok -> recordDelivered(i)
		:: else -> recordFailed(i)
		fi;
		if
		:: doubts > 0 -> doubts-- /* the answer is lost: it is written again */
		:: true -> recorded(i)
		fi
	:: d[i].entry == entryRelease -> /* releaseRows */
		if
#ifdef NO_RELEASE_LEASE
		:: status == pending ->
#else
		:: status == pending && d[i].current ->
#endif
			changed(); nextRetryAt = 0; leased = false; d[i].known = d[i].owned
		:: else
		fi;
		recorded(i)
	:: d[i].entry == entryRenew -> /* renewRows */
		if
#ifdef NO_RENEW_LEASE
		:: status == pending ->
#else
		:: status == pending && d[i].current ->
#endif
			changed();
			nextRetryAt = LEASE; leased = true; d[i].lease = LEASE; d[i].current = true;
			if
			:: d[i].owned -> d[i].phase = phaseQueued
			:: else -> record(i, entryRelease)
			fi
		:: else -> recorded(i)
		fi
	fi
}

/* What a rescue or a timer has found: the row is due. */
#ifdef NO_RESCUE
#define FOUND(i) d[i].known
#else
#define FOUND(i) true
#endif

proctype Dispatcher(byte i) {
end:
	do
	:: atomic { DATABASE(i) && !d[i].beaten && RENEWED -> beat(i); fault(i) }
	:: atomic { DATABASE(i) && d[i].leaving && owner == i &&
		(d[i].phase == phaseNew || HANDOVER(i))
		-> shed(i); fault(i) }
	:: atomic { LIVE(i) && d[i].consumer && d[i].hand == handEmpty && copies > 0 && !brokerWaits ->
		if
#ifndef NO_RECEIVE_LEASE
		:: d[i].until == 0 -> refuse(i)
		:: d[i].until > 0 && !(deliveredOnce && EARLY(i)) -> take(i, false)
		:: d[i].until > 0 && deliveredOnce && MAY_FORGET(i) -> take(i, true)
#else
		:: !(deliveredOnce && EARLY(i)) -> take(i, false)
		:: deliveredOnce && MAY_FORGET(i) -> take(i, true)
#endif
		:: brokerWaits = true
		:: copies--; printf("a copy of the message is lost\n")
		fi;
		fault(i) }
	:: atomic { LIVE(i) && d[i].hand == handFresh -> addFresh(i); fault(i) }
	:: atomic { DATABASE(i) && d[i].hand == handReclaim -> reclaim(i); fault(i) }
	:: atomic { DATABASE(i) && d[i].owned && d[i].consumer && !d[i].spare && d[i].phase == phaseNew &&
		status == pending && firstCurrent && nextRetryAt > 0 && LEASED_SINCE(i) && STILL_OWNS(i) -> findLeased(i); fault(i) }
	:: atomic { DATABASE(i) && d[i].spare -> releaseLeased(i); fault(i) }
	:: atomic { LIVE(i) && d[i].owned && d[i].until > 0 && !d[i].want && !d[i].has &&
		status == pending && nextRetryAt == 0 && FOUND(i) -> d[i].want = true; fault(i) }
	:: atomic { DATABASE(i) && d[i].want && !d[i].has -> fetchDue(i); fault(i) }
	:: atomic { LIVE(i) && d[i].has -> addFetched(i); fault(i) }
	:: atomic { LIVE(i) && d[i].owned && d[i].until > 0 && d[i].phase == phaseQueued -> start(i); fault(i) }
	:: atomic { LIVE(i) && d[i].phase == phaseFast && !d[i].sent -> send(i); fault(i) }
	:: atomic { LIVE(i) && d[i].phase == phaseFast && d[i].sent && !d[i].waits -> answer(i); fault(i) }
	:: atomic { DATABASE(i) && d[i].phase == phaseRecording -> write(i); fault(i) }
	od
}

/* The fan-out commits the row and publishes its message, at any time. */
proctype Fanout() {
end:
	do
	:: atomic { status == none && !fanoutWaits ->
		if
		:: fanoutWaits = true
		:: printf("the row is inserted\n"); status = pending; nextRetryAt = FIRST_LEASE; leased = true; firstLease = FIRST_LEASE; firstCurrent = true; copies = 1 + repeats
		fi }
	od
}

/* A dispatcher holds the row. */
#define HELD (leased && nextRetryAt > 0)

/* A person retries the delivery, enables its webhook, or deletes it; a cancelled replay and the end of the retention do
 * what the deletion does. */
proctype Operator() {
end:
	do
	:: atomic { operations > 0 && status != none && !operatorWaits ->
		if
		:: operatorWaits = true
		:: status == failed -> operations--; printf("the failed delivery is retried\n");
			status = pending; nextRetryAt = 0; leased = false; maxAttempts = attempts + MAX_ATTEMPTS
#ifdef NO_RETRY_LEASED
		:: status == pending ->
#else
		:: status == pending && !HELD ->
#endif
			operations--; printf("the delivery is retried\n");
			changed(); nextRetryAt = 0; leased = false
#ifdef NO_ENABLE_LEASED
		:: status == pending ->
#else
		:: status == pending && !leased ->
#endif
			operations--; printf("the webhook is enabled\n");
			changed(); nextRetryAt = 0; leased = false
#ifdef NO_END_LEASED
		:: status == pending ->
#else
		:: status == pending && !HELD ->
#endif
			operations--; printf("the delivery is ended\n");
			assert(right == 0);          /* a row says what the receiver saw */
			changed(); status = failed; nextRetryAt = 0; leased = false
		fi }
	od
}

inline down(x) {
	if
	:: x > 0 -> x--
	:: else
	fi
}

/* A dispatcher that nothing holds up renews at once; a beat that may change something is a step of its own. */
#define QUIET(i) (d[i].stall == running && (owner == i && d[i].owned && d[i].consumer || \
	owner == 1 - i && d[1 - i].stall == running && d[1 - i].owned && !d[i].owned && !d[i].consumer && !d[i].leaving))

inline pass(i) {
	down(d[i].until); down(d[i].left); down(d[i].lease); down(d[i].hasLease);
	if
	:: (d[i].lease == 0 || d[i].until == 0) && UNRECORDED(i) -> excuse = true
	:: else
	fi;
	d[i].beaten = false; d[i].waits = false
}

inline resume(i) {
	if
	:: d[i].stall != running -> d[i].stall = running; printf("%d: is back\n", i)
	:: d[i].stall != running -> skip
	:: QUIET(i) ->
		d[i].beaten = true; d[i].until = PARTITION_LEASE;
		if
		:: owner == i -> leasedUntil = PARTITION_LEASE
		:: else
		fi;
		if
		:: owner == i && moves > 0 -> leave(i)
		:: true
		fi
	:: d[i].stall == running -> fault(i)
	:: else
	fi
}

/* Nothing is left that could change the row. */
#define OVER (status != none && status != pending && copies == 0 && \
	d[0].phase == phaseNew && d[0].hand == handEmpty && !d[0].has && !d[0].want && !d[0].spare && \
	d[1].phase == phaseNew && d[1].hand == handEmpty && !d[1].has && !d[1].want && !d[1].spare)

proctype Clock() {
end:
	do
	:: atomic { timeout && !OVER ->
		printf("tick\n");
		down(nextRetryAt); down(leasedUntil); down(firstLease); down(right); down(former);
		if
		:: firstLease == 0 && status != none -> copies = 0
		:: else
		fi;
		if
		:: right == 0 -> poster = N
		:: else
		fi;
		fanoutWaits = false; brokerWaits = false; operatorWaits = false;
		pass(0); pass(1); resume(0); resume(1) }
	od
}

init {
	atomic {
		d[0].stall = running; d[1].stall = running;
		d[0].phase = phaseNew; d[1].phase = phaseNew;
		d[0].hand = handEmpty; d[1].hand = handEmpty;
		d[0].entry = entryOutcome; d[1].entry = entryOutcome;
		run Dispatcher(0); run Dispatcher(1); run Fanout(); run Operator(); run Clock()
	}
}

/* No row is stuck: it ends if at last no dispatcher is stalled. */
ltl ends { (<>[] CALM && <> (status == pending)) -> <> (status == delivered || status == failed) }
