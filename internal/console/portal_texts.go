package console

// portalTexts are the texts of the portal's pages, by language and key.
var portalTexts = map[string]map[string]string{
	"en": {
		"title": "Webhook deliveries", "webhooks": "Webhooks", "webhook": "Webhook", "deliveries": "Deliveries", "delivery": "Delivery",
		"event": "Event", "url": "URL", "types": "Event types", "state": "State", "enabled": "enabled", "disabled": "disabled",
		"last": "Last delivery", "never": "never", "day": "last 24 hours", "delivered": "delivered", "failed": "failed", "pending": "pending",
		"waiting": "waiting", "rate": "Success rate", "status": "Status", "all": "All", "show": "Show", "type": "Type", "attempts": "Attempts",
		"code": "Response", "time": "Time", "error": "Error", "next": "Next attempt", "duration": "Duration", "no response": "no response",
		"answer": "Response body", "request": "Request body", "expired": "The request body is no longer stored.", "retry": "Retry now",
		"retried": "The delivery is tried again now.", "no webhooks": "There is nothing to show: the webhooks of this link were deleted.",
		"no deliveries": "No deliveries yet.", "back": "All webhooks", "sorry": "This can't be shown",
		"gone":        "This link does not work any more: it has expired or was withdrawn. Ask for a new one where you got it.",
		"too many":    "There were too many requests. Wait a minute and try again.",
		"conflict":    "The delivery can't be retried now: it was delivered, has expired, or is being tried at this moment.",
		"not found":   "There is nothing here that this link shows.",
		"unavailable": "The page can't be shown now. Try again in a minute.",
	},
	"de": {
		"title": "Webhook-Zustellungen", "webhooks": "Webhooks", "webhook": "Webhook", "deliveries": "Zustellungen", "delivery": "Zustellung",
		"event": "Ereignis", "url": "URL", "types": "Ereignistypen", "state": "Zustand", "enabled": "aktiv", "disabled": "deaktiviert",
		"last": "Letzte Zustellung", "never": "nie", "day": "letzte 24 Stunden", "delivered": "zugestellt", "failed": "fehlgeschlagen",
		"pending": "ausstehend", "waiting": "wartend", "rate": "Erfolgsquote", "status": "Status", "all": "Alle", "show": "Anzeigen",
		"type": "Typ", "attempts": "Versuche", "code": "Antwort", "time": "Zeit", "error": "Fehler", "next": "Nächster Versuch",
		"duration": "Dauer", "no response": "keine Antwort", "answer": "Inhalt der Antwort", "request": "Inhalt der Anfrage",
		"expired": "Der Inhalt der Anfrage ist nicht mehr gespeichert.", "retry": "Jetzt erneut versuchen",
		"retried": "Die Zustellung wird jetzt erneut versucht.", "no webhooks": "Es gibt nichts anzuzeigen: Die Webhooks dieses Links wurden gelöscht.",
		"no deliveries": "Noch keine Zustellungen.", "back": "Alle Webhooks", "sorry": "Das kann nicht angezeigt werden",
		"gone":        "Dieser Link gilt nicht mehr: Er ist abgelaufen oder wurde zurückgezogen. Bitten Sie dort um einen neuen, wo Sie ihn bekommen haben.",
		"too many":    "Das waren zu viele Anfragen. Warten Sie eine Minute, und versuchen Sie es erneut.",
		"conflict":    "Die Zustellung kann jetzt nicht wiederholt werden: Sie wurde zugestellt, ist abgelaufen oder wird gerade versucht.",
		"not found":   "Hier gibt es nichts, was dieser Link zeigt.",
		"unavailable": "Die Seite kann gerade nicht angezeigt werden. Versuchen Sie es in einer Minute erneut.",
	},
}

// portalText returns a text in a language, or in English where that has no such language.
func portalText(lang, key string) string {
	if texts, ok := portalTexts[lang]; ok {
		return texts[key]
	}
	return portalTexts["en"][key]
}
