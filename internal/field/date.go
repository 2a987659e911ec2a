package field

// ParseDate reads an HTTP date (RFC 9110 section 5.6.7) and returns it in
// seconds since the epoch. It takes the three forms in any case of their
// letters and nothing else: no other zone than GMT, no missing comma, no digit
// too few or too many. now, in the same seconds, decides the century of the
// two-digit year of RFC 850.
//
// http.ParseTime is both too strict (case) and too lax (spaces, zones) to
// judge freshness by.
func ParseDate(b []byte, now int64) (int64, bool) {
	switch {
	case len(b) == len("Sun, 06 Nov 1994 08:49:37 GMT") && b[3] == ',':
		if weekday(b[:3]) && b[4] == ' ' && b[7] == ' ' && b[11] == ' ' && b[16] == ' ' && EqualFold(b[25:], " GMT") {
			return civil(digits(b[12:16]), month(b[8:11]), digits(b[5:7]), b[17:25])
		}
	case len(b) == len("Sun Nov  6 08:49:37 1994") && b[3] == ' ':
		day := b[8:10]
		if day[0] == ' ' {
			day = day[1:]
		}
		if weekday(b[:3]) && b[7] == ' ' && b[10] == ' ' && b[19] == ' ' {
			return civil(digits(b[20:24]), month(b[4:7]), digits(day), b[11:19])
		}
	default:
		// Sunday, 06-Nov-94 08:49:37 GMT
		name := 0
		for name < len(b) && b[name] != ',' {
			name++
		}
		r := b[name:]
		if !longWeekday(b[:name]) || len(r) != len(", 06-Nov-94 08:49:37 GMT") || r[1] != ' ' ||
			r[4] != '-' || r[8] != '-' || r[11] != ' ' || !EqualFold(r[20:], " GMT") {
			return 0, false
		}
		year := digits(r[9:11])
		if year < 0 {
			return 0, false
		}
		// A date that seems to be more than 50 years ahead is in the past.
		thisYear := yearOf(now)
		year += thisYear - thisYear%100
		if year > thisYear+50 {
			year -= 100
		}
		return civil(year, month(r[5:8]), digits(r[2:4]), r[12:20])
	}
	return 0, false
}

// civil is the seconds since the epoch of a date and a clock "hh:mm:ss".
func civil(year, month, day int, clock []byte) (int64, bool) {
	if clock[2] != ':' || clock[5] != ':' {
		return 0, false
	}
	h, m, s := digits(clock[:2]), digits(clock[3:5]), digits(clock[6:8])
	if year < 0 || month < 1 || day < 1 || day > daysIn(year, month) ||
		h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 60 {
		return 0, false
	}
	return days(year, month, day)*86400 + int64(h*3600+m*60+s), true
}

// days counts the days from 1970-01-01 in the proleptic Gregorian calendar.
func days(year, month, day int) int64 {
	y := int64(year)
	if month <= 2 {
		y--
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	doy := int64((153*((month+9)%12)+2)/5 + day - 1)
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

// yearOf is the year of a time in seconds since the epoch.
func yearOf(sec int64) int {
	z := sec / 86400
	if sec%86400 < 0 {
		z--
	}
	z += 719468
	era := z / 146097
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	y := int(yoe + era*400)
	if (5*doy+2)/153 >= 10 {
		y++
	}
	return y
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// digits reads b as digits only; -1 if it is anything else.
func digits(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// month is 1 to 12, or 0 for what is no month.
func month(b []byte) int {
	const names = "JanFebMarAprMayJunJulAugSepOctNovDec"
	for i := 0; i < len(names); i += 3 {
		if EqualFold(b, names[i:i+3]) {
			return i/3 + 1
		}
	}
	return 0
}

func weekday(b []byte) bool {
	const names = "MonTueWedThuFriSatSun"
	for i := 0; i < len(names); i += 3 {
		if EqualFold(b, names[i:i+3]) {
			return true
		}
	}
	return false
}

func longWeekday(b []byte) bool {
	return EqualFold(b, "Monday") || EqualFold(b, "Tuesday") || EqualFold(b, "Wednesday") ||
		EqualFold(b, "Thursday") || EqualFold(b, "Friday") || EqualFold(b, "Saturday") || EqualFold(b, "Sunday")
}

// AppendDate writes sec as an IMF-fixdate.
func AppendDate(dst []byte, sec int64) []byte {
	const weekdays = "ThuFriSatSunMonTueWed"
	const months = "JanFebMarAprMayJunJulAugSepOctNovDec"
	z, rest := sec/86400, sec%86400
	if rest < 0 {
		z, rest = z-1, rest+86400
	}
	wd := ((z % 7) + 7) % 7 * 3
	year := yearOf(sec)
	m := 1
	for m < 12 && days(year, m+1, 1) <= z {
		m++
	}
	day := int(z-days(year, m, 1)) + 1
	dst = append(dst, weekdays[wd:wd+3]...)
	dst = append(dst, ',', ' ')
	dst = appendPadded(dst, day, 2)
	dst = append(dst, ' ')
	dst = append(dst, months[m*3-3:m*3]...)
	dst = append(dst, ' ')
	dst = appendPadded(dst, year, 4)
	dst = append(dst, ' ')
	dst = appendPadded(dst, int(rest/3600), 2)
	dst = append(dst, ':')
	dst = appendPadded(dst, int(rest/60%60), 2)
	dst = append(dst, ':')
	dst = appendPadded(dst, int(rest%60), 2)
	return append(dst, " GMT"...)
}

func appendPadded(dst []byte, n, width int) []byte {
	p := 1
	for range width - 1 {
		p *= 10
	}
	for ; p > 0; p /= 10 {
		dst = append(dst, byte('0'+n/p%10))
	}
	return dst
}
