package console

// register registers the routes of all pages: one line a noun.
func (s *server) register() {
	s.signInRoutes()
	s.openidRoutes()
	s.liveRoutes()
	s.overviewRoutes()
	s.operatorRoutes()
	s.eventRoutes()
	s.deliveryRoutes()
	s.messageRoutes()
	s.erasureRoutes()
	s.searchRoutes()
	s.portalRoutes()
	s.webhookRoutes()
	s.webhookFormRoutes()
	s.eventTypeRoutes()
	s.bulkRetryRoutes()
	s.portalLinkRoutes()
	s.replayRoutes()
	s.agentRoutes()
	s.domainRoutes()
	s.keyRoutes()
	s.auditRoutes()
	s.exportRoutes()
}
