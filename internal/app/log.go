package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Logging configures the log, which is written to standard error.
type Logging struct {
	Level     string `name:"log-level" env:"FANMAIL_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
	LevelFile string `name:"log-level-file" env:"FANMAIL_LOG_LEVEL_FILE" placeholder:"FILE" help:"File that contains the level; it takes precedence over --log-level. The process reads it again every few seconds and at SIGHUP."`
	Format    string `name:"log-format" env:"FANMAIL_LOG_FORMAT" default:"json" enum:"json,console" help:"json or console."`
}

// Logger returns the logger. Zero values mean info and json.
func (c Logging) Logger() (*zap.Logger, error) {
	level := zap.NewAtomicLevel()
	if c.Level != "" {
		l, err := parseLevel(c.Level)
		if err != nil {
			return nil, wrong("--log-level", "FANMAIL_LOG_LEVEL", err.Error())
		}
		level.SetLevel(l)
	}
	if c.LevelFile != "" {
		_, l, err := c.read()
		if err != nil {
			return nil, wrong("--log-level-file", "FANMAIL_LOG_LEVEL_FILE", err.Error())
		}
		level.SetLevel(l)
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.EncodeDuration = zapcore.StringDurationEncoder
	var enc zapcore.Encoder
	switch c.Format {
	case "", "json":
		enc = zapcore.NewJSONEncoder(cfg)
	case "console":
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		cfg.EncodeLevel = zapcore.CapitalLevelEncoder
		enc = zapcore.NewConsoleEncoder(cfg)
	default:
		return nil, wrong("--log-format", "FANMAIL_LOG_FORMAT", fmt.Sprintf("is %q; it must be json or console", c.Format))
	}
	return zap.New(adjustable{zapcore.NewCore(enc, zapcore.Lock(os.Stderr), level), level}), nil
}

// RedirectStandardLog writes the lines of package log to l, until the result is called.
// net/http reports there what a receiver sends on an idle connection.
func RedirectStandardLog(l *zap.Logger) (restore func()) { return zap.RedirectStdLog(l.Named("std")) }

var errLevel = errors.New("must be debug, info, warn or error")

func parseLevel(text string) (zapcore.Level, error) {
	l, err := zapcore.ParseLevel(text)
	if err != nil || text == "" || l > zapcore.ErrorLevel {
		return l, errLevel
	}
	return l, nil
}

// read returns the content of the file and the level.
func (c Logging) read() (string, zapcore.Level, error) {
	b, err := os.ReadFile(c.LevelFile)
	if err != nil {
		return "", 0, fmt.Errorf("cannot be read: %w", err)
	}
	text := strings.TrimSpace(string(b))
	l, err := parseLevel(text)
	if err != nil {
		return text, 0, fmt.Errorf("says %.20q; it %w", text, err)
	}
	return text, l, nil
}

// levelInterval is how often the file is read. Notifications of the file system
// would miss a volume that replaces a link in the path.
const levelInterval = 5 * time.Second

// Follow sets a log's level from --log-level-file until ctx ends or stop is
// called. stop waits until it has ended. A level of PUT /loglevel stays until the
// file changes or SIGHUP arrives. An invalid level is ignored and logged.
func (c Logging) Follow(ctx context.Context, log *zap.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.follow(ctx, log, levelInterval)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (c Logging) follow(ctx context.Context, log *zap.Logger, interval time.Duration) {
	core, ok := log.Core().(adjustable)
	if !ok || c.LevelFile == "" {
		return
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last, failed := "", ""
	for {
		switch text, level, err := c.read(); {
		case err != nil:
			if failed != err.Error() {
				log.Warn("the log's level stays as it is: --log-level-file "+err.Error(), zap.Stringer("level", core.level))
			}
			failed = err.Error()
		case text != last:
			last, failed = text, ""
			if was := core.level.Level(); was != level {
				core.level.SetLevel(min(was, level)) // log the change at the lower of both levels
				log.Warn("the log's level is another", zap.Stringer("level", level), zap.Stringer("before", was))
				core.level.SetLevel(level)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
			last = ""
		case <-tick.C:
		}
	}
}

// adjustable is the core of a log whose level can change while it is in use. The
// change applies to all derived loggers.
type adjustable struct {
	zapcore.Core
	level zap.AtomicLevel
}
