"""SIP itself, without trunks, calls or policy: what RFC 3261 says, by layers."""
