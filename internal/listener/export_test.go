package listener

// Drop is what Linger does with what comes.
var Drop = drop
