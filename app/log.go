package app

import (
	"fmt"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Logging says how the log is written. It goes to standard error.
type Logging struct {
	Level  string `name:"log-level" env:"FANMAIL_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
	Format string `name:"log-format" env:"FANMAIL_LOG_FORMAT" default:"json" enum:"json,console" help:"json or console."`
}

// Logger makes the log. Zero values mean info and json.
func (c Logging) Logger() (*zap.Logger, error) {
	level := zap.NewAtomicLevel()
	if c.Level != "" {
		if err := level.UnmarshalText([]byte(c.Level)); err != nil {
			return nil, wrong("--log-level", "FANMAIL_LOG_LEVEL", "must be debug, info, warn or error")
		}
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

// adjustable is the core of a log whose level can be changed while it is in
// use, for all that are derived from it.
type adjustable struct {
	zapcore.Core
	level zap.AtomicLevel
}
